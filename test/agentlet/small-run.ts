import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PodFacts } from "../../src/agentlet/pod-ready.ts";
import { runAgent } from "../../src/agentlet/run-life.ts";
import { StopWish } from "../../src/agentlet/stop.ts";
import { ZoneRedaction } from "../../src/agentlet/zone-redaction.ts";
import { silentLog } from "../../src/kit/log.ts";
import type { RunEnd } from "../../src/protocol/outcome.ts";
import { aRunSpec } from "./run-spec.ts";
import { SmallManager } from "./small-manager.ts";
import { SmallRecorder } from "./small-recorder.ts";

export const BOOT = { agentletToken: "l".repeat(43), agentToken: "a".repeat(43) };

type Given = NonNullable<Parameters<typeof aRunSpec>[0]>;

/** All that an agentlet has around it: a directory with a workspace, a recorder and a manager. */
export interface SmallRun extends AsyncDisposable {
  readonly directory: string;
  readonly recorder: SmallRecorder;
  readonly manager: SmallManager;
  readonly stop: StopWish;
  /** the spec of a shell script as the agent */
  spec(script: string, given?: Given): ReturnType<typeof aRunSpec>;
  /** runs it in this process, to its end */
  run(script: string, given?: Given, pod?: PodFacts | null): Promise<RunEnd>;
}

export async function openSmallRun(): Promise<SmallRun> {
  const directory = await mkdtemp(join(tmpdir(), "agentlet-run-"));
  await mkdir(join(directory, "workspace"));
  const recorder = new SmallRecorder(join(directory, "rec.sock"), BOOT.agentletToken);
  const manager = new SmallManager();
  const stop = new StopWish();
  await recorder.start();
  await manager.start();
  const spec: SmallRun["spec"] = (script, given = {}) =>
    aRunSpec({
      directory,
      managerUrl: manager.url,
      ...given,
      agent: { argv: ["/bin/sh", "-c", script], ...given.agent },
    });
  return {
    directory,
    recorder,
    manager,
    stop,
    spec,
    run: (script, given, pod = null) =>
      runAgent({
        spec: spec(script, given),
        boot: BOOT,
        redaction: new ZoneRedaction([]),
        nodePath: process.execPath,
        pod,
        stop,
        log: silentLog,
      }),
    async [Symbol.asyncDispose]() {
      await recorder[Symbol.asyncDispose]();
      await manager[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    },
  };
}
