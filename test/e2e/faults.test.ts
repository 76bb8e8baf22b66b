import assert from "node:assert/strict";
import { suite, test } from "node:test";
import {
  assertBeginning,
  assertWhole,
  isOver,
  readRecording,
  startFlood,
} from "../helpers/flood-run.ts";
import { openLab, resultOf } from "../helpers/lab.ts";
import { trustedPartsOf } from "../helpers/run-parts.ts";

// One of each family; test/faults has the others and the long ones.
const MB = 1_000_000;

suite("kill -9 in the middle of a flood", () => {
  test("of the recorder: the recording is byte for byte what the terminal gave", async () => {
    await using lab = openLab();
    const run = await startFlood(lab, 12 * MB, 2 * MB);
    const { "session-recorder": recorder } = trustedPartsOf(run.info.supervisorPid);
    assert.ok(recorder !== undefined);

    process.kill(recorder, "SIGKILL");

    await assertWhole(lab, run);
  });

  test("of the manager: the same, and the run goes on meanwhile", async () => {
    await using lab = openLab();
    const run = await startFlood(lab, 12 * MB, 2 * MB);

    process.kill(lab.manager().pid, "SIGKILL");

    await assertWhole(lab, run);
  });

  test("of the agentlet: the run ends as agentlet_fault, what was durable is there and its end is marked", async () => {
    await using lab = openLab();
    const run = await startFlood(lab, 40 * MB, 2 * MB);
    const { agentlet } = trustedPartsOf(run.info.supervisorPid);
    assert.ok(agentlet !== undefined);

    process.kill(agentlet, "SIGKILL");
    const killed = performance.now();
    const end = await run.cli.ended;
    const result = resultOf(end);

    assert.ok(performance.now() - killed < 10_000, `took ${performance.now() - killed} ms`);
    assert.deepEqual(
      [result.outcome, result.reason, end.code],
      ["failed", "agentlet_fault", 1],
      end.text,
    );
    assert.equal(isOver(lab), false);
    const { raw, verify, cast } = await readRecording(lab, result.run);
    assert.deepEqual(verify.problems, []);
    assertBeginning(raw, run, MB);
    assert.match(cast.trimEnd().split("\n").slice(-4).join("\n"), /"m", ?"recording interrupted/);
    assert.deepEqual(await lab.leftovers(), []);
  });
});
