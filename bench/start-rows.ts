import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import timers from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { SMALL_HEAP, SMALL_MALLOC } from "../src/cli/node-options.ts";
import { messageOf } from "../src/kit/platform-error.ts";
import { PROTOCOL } from "../src/protocol/version.ts";
import type { RunSpec } from "../src/protocol/run-spec.ts";
import { ownChild, temporaryDirectory } from "./belongings.ts";
import { median, sideBySide } from "./measure.ts";
import { missingRow, ratioRow } from "./row.ts";
import type { Row } from "./row.ts";

const agentkube = fileURLToPath(new URL("../bin/agentkube.js", import.meta.url));
const TURNS = 12;
const GOAL = { atMost: 4 };

/** Each program from its start to its word that it is ready, against the start of Node itself. */
export async function startRows(): Promise<Row[]> {
  await using directory = temporaryDirectory();
  const dir = directory.path;
  let turn = 0;
  // A socket path has at most 107 bytes, so the directories have short names.
  const place = (): string => path.join(dir, String(turn++));
  const starts: Record<string, () => Promise<void>> = {
    "agentlet to ready": () => untilReady("agentlet", place()),
    "tool-runner to ready": () => untilReady("tool-runner", place()),
    "session-recorder to ready": () => untilReady("session-recorder", place()),
    "manager to its port": () => managerUntilReady(place()),
  };
  const missing: Row[] = [];
  for (const [name, start] of Object.entries(starts)) {
    try {
      await start();
    } catch (error) {
      delete starts[name];
      missing.push(missingRow(`cold start of ${name}`, messageOf(error)));
    }
  }
  const times = await sideBySide(TURNS, {
    node: () => ended(spawn(process.execPath, ["-e", "0"], { stdio: "ignore" })),
    ...starts,
  });
  const node = { name: "node -e 0", value: median(times.node) };
  const rows = Object.entries(times).filter(([name]) => name !== "node");
  return [
    ...rows.map(([name, ms]) => ratioRow(`cold start of ${name}`, median(ms), "ms", node, GOAL)),
    ...missing,
  ];
}

async function untilReady(
  program: "agentlet" | "tool-runner" | "session-recorder",
  dir: string,
): Promise<void> {
  mkdirSync(path.join(dir, "spool"), { recursive: true });
  const specFile = path.join(dir, "run.json");
  writeFileSync(specFile, JSON.stringify(aRunSpec(dir)), { mode: 0o600 });
  await using owned = ownChild(
    spawn(process.execPath, [...SMALL_HEAP, agentkube, program], {
      env: { PATH: process.env["PATH"], ...SMALL_MALLOC, AGENTKUBE_RUN_SPEC: specFile },
      stdio: ["pipe", "pipe", "ignore"],
    }),
  );
  const { child } = owned;
  child.stdin?.on("error", () => undefined);
  child.stdin?.write(`${JSON.stringify(bootOf(program))}\n`);
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  const line = await new Promise<string>((resolve) => {
    const late = setTimeout(() => resolve("nothing in 10 s"), 10_000);
    const settle = (said: string) => {
      clearTimeout(late);
      resolve(said);
    };
    lines.once("line", settle).once("close", () => settle("nothing and ended"));
  });
  child.kill("SIGKILL");
  await ended(child);
  if (!line.includes('"ready"')) throw new Error(`${program} said ${line}`);
}

async function managerUntilReady(dir: string): Promise<void> {
  mkdirSync(dir, { mode: 0o700 });
  await using owned = ownChild(
    spawn(process.execPath, [agentkube, "manager", "--data", dir], { stdio: "ignore" }),
  );
  const { child } = owned;
  const deadline = performance.now() + 10_000;
  while (!existsSync(path.join(dir, "manager.json")) && performance.now() < deadline)
    await timers.setTimeout(1);
  child.kill("SIGTERM");
  await ended(child);
  if (performance.now() > deadline) throw new Error("manager had no port in 10 s");
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

function bootOf(program: "agentlet" | "tool-runner" | "session-recorder"): object {
  const token = () => randomBytes(32).toString("base64url");
  if (program === "agentlet") return { agentletToken: token(), agentToken: token() };
  if (program === "session-recorder")
    return { recorderToken: token(), agentletToken: token(), runnerToken: token() };
  return {
    runnerToken: token(),
    agentToken: token(),
    secrets: {},
    modelKey: null,
    auditKey: randomBytes(32).toString("base64"),
    signingSeed: randomBytes(32).toString("base64url"),
  };
}

/** A run whose manager is not there: being ready must not wait for it. */
function aRunSpec(dir: string): RunSpec {
  return {
    protocol: PROTOCOL,
    run: "bench-00000000",
    agentName: "bench",
    epoch: 0,
    manager: { url: "http://127.0.0.1:9" },
    sockets: {
      recorder: path.join(dir, "rec.sock"),
      markers: path.join(dir, "mark.sock"),
      runner: path.join(dir, "run.sock"),
    },
    runtimeDir: dir,
    spoolDir: path.join(dir, "spool"),
    agent: {
      runtime: "Custom",
      mode: "system",
      goal: null,
      model: undefined,
      argv: ["/bin/true"],
      timeoutMs: null,
      recordInput: false,
      recordingEnabled: true,
    },
    terminal: { cols: 120, rows: 40 },
    zone: {
      kind: "sandbox",
      network: "gateway",
      workspace: dir,
      binds: [],
      memoryBytes: 2 ** 30,
      processes: 256,
      scratchBytes: 2 ** 28,
    },
    tools: [],
    modelEndpoint: null,
    shellPath: "/usr/bin:/bin",
  };
}
