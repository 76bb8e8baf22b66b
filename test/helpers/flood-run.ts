// A run whose agent prints a known flood, for tests that kill its parts meanwhile.
import assert from "node:assert/strict";
import { copyFileSync, readFileSync } from "node:fs";
import path from "node:path";
import { until } from "./until.ts";
import { floodOnTerminal } from "../fixtures/flood.ts";
import type { RunInfo } from "../../src/protocol/manager-api.ts";
import { VerifyResult } from "../../src/protocol/results.ts";
import type { RunResult } from "../../src/protocol/results.ts";
import { repository, resultOf } from "./lab.ts";
import type { CliEnd, Lab, RunningCli } from "./lab.ts";
import { anAgent } from "./manifests.ts";

export interface FloodRun {
  readonly bytes: number;
  readonly cli: RunningCli;
  readonly info: RunInfo;
}

/**
 * Starts a run that prints `bytes` of flood, at most some 25 MB a second, and waits until `after` bytes of its recording are
 * durable. `timeoutMs`: how long the whole may take; `agentTimeout`: of the manifest.
 */
export async function startFlood(
  lab: Lab,
  bytes: number,
  after: number,
  { timeoutMs = 50_000, agentTimeout = "10m" } = {},
): Promise<FloodRun> {
  const program = path.join(lab.workspace, "flood.ts");
  copyFileSync(path.join(repository, "test/fixtures/flood.ts"), program);
  const script = `/opt/agentkube/node ./flood.ts ${bytes} 2; echo done >over`;
  const agent = lab.write("agent.yaml", anAgent(script, { timeout: agentTimeout }));
  const cli = lab.run([agent], { timeoutMs });
  let over = false;
  void cli.ended.then(() => (over = true)).catch(() => undefined);
  const info = await until(`${after} durable bytes`, async () => {
    assert.equal(over, false, `The run ended too early:\n${cli.stdout}\n${cli.stderr}`);
    return await lab.waitForRun(({ committedBytes }) => committedBytes >= after, 1000);
  });
  assert.equal(isOver(lab), false, "The flood was over before the fault: it proves nothing");
  return { bytes, cli, info };
}

/** Whether the flood was printed to its end. */
export function isOver(lab: Lab): boolean {
  try {
    readFileSync(path.join(lab.workspace, "over"));
    return true;
  } catch {
    return false;
  }
}

/** The bytes that the recording holds, and what `recording verify` says of it. */
export async function readRecording(
  lab: Lab,
  run: string,
): Promise<{ raw: Buffer; verify: VerifyResult; cast: string }> {
  const cat = await lab.agentkube(["recording", "cat", run, "--raw", "--data", lab.data]).ended;
  assert.equal(cat.code, 0, cat.stderr);
  const verify = await lab.agentkube(["recording", "verify", run, "--json", "--data", lab.data])
    .ended;
  const cast = readFileSync(path.join(lab.data, "runs", run, "recording.cast"), "utf8");
  return {
    raw: cat.stdout,
    verify: VerifyResult.parse(
      JSON.parse(verify.stdout.toString().trim().split("\n").at(-1) ?? ""),
    ),
    cast,
  };
}

/** The run ended well, and its recording holds the flood, byte for byte. */
export async function assertWhole(
  lab: Lab,
  run: FloodRun,
): Promise<{ end: CliEnd; result: RunResult }> {
  const end = await run.cli.ended;
  const result = resultOf(end);
  assert.deepEqual(
    [result.outcome, result.reason, result.exitCode, end.code],
    ["succeeded", "exited", 0, 0],
    end.text,
  );
  assert.equal(result.recording?.verified, true, end.text);
  const { raw, verify } = await readRecording(lab, result.run);
  assert.deepEqual(verify.problems, []);
  assertSameBytes(raw, floodOnTerminal(run.bytes));
  assert.deepEqual(await lab.leftovers(), []);
  return { end, result };
}

/** The recording holds a beginning of the flood; the echo of the interrupt key that ended it may follow. */
export function assertBeginning(raw: Buffer, run: FloodRun, atLeast: number): void {
  const echo = raw.subarray(-2).toString() === "^C" ? 2 : 0;
  const printed = raw.subarray(0, raw.length - echo);
  assert.ok(printed.length >= atLeast, `expected at least ${atLeast} bytes, got ${printed.length}`);
  assertSameBytes(printed, floodOnTerminal(run.bytes).subarray(0, printed.length));
}

/** Compares without printing megabytes. */
export function assertSameBytes(actual: Buffer, expected: Buffer): void {
  if (actual.equals(expected)) return;
  let at = 0;
  while (at < actual.length && actual[at] === expected[at]) at += 1;
  const show = (bytes: Buffer) =>
    JSON.stringify(bytes.subarray(Math.max(0, at - 40), at + 60).toString("latin1"));
  assert.fail(
    `Expected ${expected.length} bytes, got ${actual.length}; they differ at ${at}:\nexpected ${show(expected)}\n     got ${show(actual)}`,
  );
}
