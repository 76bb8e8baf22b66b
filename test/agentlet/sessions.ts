import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import vm from "node:vm";
import { until } from "../helpers/until.ts";
import { runAgent } from "../../src/agentlet/run-life.ts";
import { StopWish } from "../../src/agentlet/stop.ts";
import { ZoneRedaction } from "../../src/agentlet/zone-redaction.ts";
import { silentLog } from "../../src/kit/log.ts";
import { childrenOf } from "../../src/kit/process-tree.ts";
import { processesNaming } from "../helpers/processes.ts";
import { aRunSpec } from "./run-spec.ts";
import { SmallManager } from "./small-manager.ts";
import { SmallRecorder } from "./small-recorder.ts";

const BOOT = { agentletToken: "l".repeat(43), agentToken: "a".repeat(43) };
const ATTACH = "0123456789abcdef";
/** What is opened late and kept once (a worker of the thread pool, a resolver) is no leak. */
const WARM_UP = 10;

setFlagsFromString("--expose-gc");
const collect = vm.runInNewContext("gc") as () => void;

/** How a session's program ends, and what it would leave behind if nobody looked. */
const PROGRAMS: { script: string; reason: string; isTyped?: true }[] = [
  { script: "echo done", reason: "exited" },
  {
    script: "setsid sleep 300 & (setsid sh -c 'sleep 300 & sleep 300' &); exit 3",
    reason: "exited",
  },
  { script: "sleep 300 & kill -9 $$", reason: "signalled" },
  { script: "read line; echo got:$line", reason: "exited", isTyped: true },
];

export interface Left {
  descriptors: number;
  /** children of this process */
  children: number[];
  /** anywhere on the machine, by the sessions' directories */
  processes: string[];
  /** the same */
  mounts: string[];
  heapMiB: number;
}

/** Lives through whole sessions of the agentlet, one after the other, and says what more there is after them than before. */
export async function liveThrough(sessions: number): Promise<Left> {
  const parent = await mkdtemp(join(tmpdir(), "aks-"));
  try {
    for (let at = 0; at < WARM_UP; at++) await liveOnce(parent, at);
    const before = counts();
    for (let at = 0; at < sessions; at++) await liveOnce(parent, at);
    const after = counts();
    return {
      descriptors: after.descriptors - before.descriptors,
      children: await childrenOf(process.pid),
      processes: processesNaming(parent).map(({ command }) => command),
      mounts: readFileSync("/proc/self/mountinfo", "utf8")
        .split("\n")
        .filter((mount) => mount.includes(parent)),
      heapMiB: after.heapMiB - before.heapMiB,
    };
  } finally {
    await rm(parent, { recursive: true });
  }
}

async function liveOnce(parent: string, at: number): Promise<void> {
  const { script, reason, isTyped } = PROGRAMS[at % PROGRAMS.length] ?? assert.fail();
  const directory = await mkdtemp(join(parent, "s-"));
  await mkdir(join(directory, "workspace"));
  await using recorder = new SmallRecorder(join(directory, "rec.sock"), BOOT.agentletToken);
  await using manager = new SmallManager();
  await recorder.start();
  await manager.start();
  const spec = aRunSpec({
    directory,
    managerUrl: manager.url,
    agent: { argv: ["/bin/sh", "-c", script] },
  });
  const ended = runAgent({
    spec,
    boot: BOOT,
    redaction: new ZoneRedaction([]),
    nodePath: process.execPath,
    pod: null,
    stop: new StopWish(),
    log: silentLog,
  });
  if (isTyped === true) {
    await until("the agentlet is there", () => manager.events.length > 0);
    manager.command({ kind: "attach_open", attach: ATTACH, write: true, fromOffset: 0 });
    const data = Buffer.from("words\r").toString("base64");
    manager.command({ kind: "attach_input", attach: ATTACH, data });
  }
  assert.equal((await ended).reason, reason, `session ${at}: ${script}`);
  if (isTyped === true) assert.match(recorder.output().toString(), /got:words/);
  await rm(directory, { recursive: true });
}

function counts(): { descriptors: number; heapMiB: number } {
  collect();
  return {
    descriptors: readdirSync("/proc/self/fd").length,
    heapMiB: process.memoryUsage().heapUsed / 2 ** 20,
  };
}
