import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { exitCodeOfRun, type RunEnd } from "../../src/protocol/outcome.ts";

const end = (outcome: RunEnd["outcome"], reason: RunEnd["reason"], rest = {}): RunEnd => ({
  outcome,
  reason,
  exitCode: null,
  signal: null,
  ...rest,
});
const ENDS: [RunEnd, number][] = [
  [end("succeeded", "exited", { exitCode: 0 }), 0],
  [end("succeeded", "completed"), 0],
  [end("failed", "exited", { exitCode: 7 }), 7],
  [end("failed", "signalled", { signal: "SIGKILL" }), 137],
  [end("failed", "timed_out"), 124],
  [end("cancelled", "cancelled"), 130],
  [end("failed", "recorder_lost"), 1],
  [end("failed", "agentlet_fault"), 1],
];

suite("the exit code of run", () => {
  test("says how it ended when the recording is verified", () => {
    for (const [how, code] of ENDS) assert.equal(exitCodeOfRun(how, { verified: true }), code);
  });

  test("is 1 when the recording is not verified, however it ended", () => {
    for (const [how] of ENDS) assert.equal(exitCodeOfRun(how, { verified: false }), 1);
  });

  test("without a recording is never 0", () => {
    assert.equal(exitCodeOfRun(end("succeeded", "exited", { exitCode: 0 }), null), 1);
    assert.equal(exitCodeOfRun(end("cancelled", "cancelled"), null), 130);
  });

  test("of a refused run is 3", () => {
    for (const recording of [null, { verified: false }, { verified: true }])
      assert.equal(exitCodeOfRun(end("refused", "not_started"), recording), 3);
  });
});
