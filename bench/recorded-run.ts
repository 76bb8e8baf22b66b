import { spawn } from "node:child_process";
import { linkSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import timers from "node:timers/promises";
import { repository, resultOf } from "../test/helpers/lab.ts";
import type { Lab } from "../test/helpers/lab.ts";
import { anAgent } from "../test/helpers/manifests.ts";
import { ownChild, ownLab } from "./belongings.ts";
import { digestOf } from "./recorded-bytes.ts";
import type { Recorded } from "./recorded-bytes.ts";
import { PRINT_SCRIPT, startedAt } from "./recording-peers.ts";
import type { Measured } from "./recording-peers.ts";
import { watchTreeCpu } from "./tree-cpu.ts";

const POLL_MS = 10;
const RUN_MS = 180_000;

/** Prints a file by `agentkube run --json`: from the first output until the manager's own file says verified. */
export async function recordByAgentkube(file: string): Promise<Measured> {
  await using owned = ownLab();
  const { lab } = owned;
  linkSync(file, path.join(lab.workspace, "mixed"));
  const manifest = lab.write("agent.yaml", anAgent(PRINT_SCRIPT, { timeout: "5m" }));
  const cli = lab.run([manifest], { timeoutMs: RUN_MS });
  await using cpu = watchTreeCpu(cli.child.pid ?? 0);
  let isOver = false;
  void cli.ended.catch(() => undefined).then(() => (isOver = true));
  // The run's end is later than the word of the manager, and bounds the wait for it.
  for (;;) {
    if (isVerified(lab) || isOver) break;
    await timers.setTimeout(POLL_MS);
  }
  const verifiedAt = Date.now();
  const started = startedAt(lab.workspace);
  const cpuSeconds = cpu.since(started);
  const result = resultOf(await cli.ended);
  if (result.outcome !== "succeeded" || result.recording?.verified !== true)
    throw new Error(`Expected a verified success, got ${JSON.stringify(result)}`);
  const recorded = await digestOfRecording(lab, result.run);
  return { elapsedMs: verifiedAt - started, cpuSeconds, recorded };
}

function isVerified(lab: Lab): boolean {
  try {
    const runs = path.join(lab.data, "runs");
    return readdirSync(runs).some((run) => {
      const text = readFileSync(path.join(runs, run, "run.json"), "utf8");
      return /"verified": ?true/.test(text);
    });
  } catch {
    // Not there yet.
    return false;
  }
}

async function digestOfRecording(lab: Lab, run: string): Promise<Recorded> {
  const words = ["recording", "cat", run, "--raw", "--data", lab.data];
  await using owned = ownChild(
    spawn(process.execPath, [path.join(repository, "bin/agentkube.js"), ...words], {
      stdio: ["ignore", "pipe", "inherit"],
    }),
  );
  return await digestOf(owned.child.stdout);
}
