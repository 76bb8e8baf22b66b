import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, linkSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import timers from "node:timers/promises";
import { repository, resultOf } from "../test/helpers/lab.ts";
import type { Lab } from "../test/helpers/lab.ts";
import { anAgent } from "../test/helpers/manifests.ts";
import { ownChild, ownLab } from "./belongings.ts";
import { PRINT_SCRIPT, startedAt } from "./recording-peers.ts";

const POLL_MS = 10;
const RUN_MS = 180_000;

export interface RecordedRun {
  /** from the first output until the manager's own file says verified */
  elapsedMs: number;
  /** of the output: missing or surplus; 1 when the size is right and the bytes are not */
  lostBytes: number;
}

/** Prints a file by `agentkube run --json` and compares what `recording cat --raw` gives with it. */
export async function recordByAgentkube(file: string, bytes: number): Promise<RecordedRun> {
  await using owned = ownLab();
  const { lab } = owned;
  linkSync(file, path.join(lab.workspace, "mixed"));
  const manifest = lab.write("agent.yaml", anAgent(PRINT_SCRIPT, { timeout: "5m" }));
  const cli = lab.run([manifest], { timeoutMs: RUN_MS });
  let isOver = false;
  void cli.ended.catch(() => undefined).then(() => (isOver = true));
  // The run's end is later than the word of the manager, and bounds the wait for it.
  for (;;) {
    if (isVerified(lab) || isOver) break;
    await timers.setTimeout(POLL_MS);
  }
  const verifiedAt = Date.now();
  const result = resultOf(await cli.ended);
  if (result.outcome !== "succeeded" || result.recording?.verified !== true)
    throw new Error(`Expected a verified success, got ${JSON.stringify(result)}`);
  const recorded = await digestOfRecording(lab, result.run);
  const printed = await digestOf(createReadStream(file));
  const isSame = recorded.sha256 === printed.sha256;
  return {
    elapsedMs: verifiedAt - startedAt(lab.workspace),
    lostBytes: isSame ? 0 : Math.max(1, Math.abs(bytes - recorded.bytes)),
  };
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

async function digestOfRecording(
  lab: Lab,
  run: string,
): Promise<{ bytes: number; sha256: string }> {
  const words = ["recording", "cat", run, "--raw", "--data", lab.data];
  await using owned = ownChild(
    spawn(process.execPath, [path.join(repository, "bin/agentkube.js"), ...words], {
      stdio: ["ignore", "pipe", "inherit"],
    }),
  );
  return await digestOf(owned.child.stdout);
}

async function digestOf(stream: AsyncIterable<Buffer>): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
    hash.update(chunk);
  }
  return { bytes, sha256: hash.digest("hex") };
}
