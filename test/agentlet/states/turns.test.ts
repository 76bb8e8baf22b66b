import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { quantileOf, watchTurns } from "../../helpers/turns.ts";

// Short here; `npm run soak` does 1,000 turns.
suite("turns of a fake agent that says the truth about itself", { concurrency: false }, () => {
  test("their ends and asks are seen in time by the screen alone, torn frames and quotes included, and idle is never told falsely", async () => {
    const seen = await watchTurns("ClaudeCode", 8, { words: ["--torn"] });

    assert.deepEqual(seen.falseIdle, []);
    assert.equal(seen.falselyDelivered, 0);
    assert.ok(quantileOf(seen.turnEnd, 0.5) <= 700, `turn ends: ${seen.turnEnd.join(" ")}`);
    assert.ok(quantileOf(seen.permission, 0.5) <= 500, `asks: ${seen.permission.join(" ")}`);
  });

  test("with hooks their ends are seen at once", async () => {
    const seen = await watchTurns("Codex", 6, { hooks: true });

    assert.deepEqual(seen.falseIdle, []);
    assert.ok(quantileOf(seen.turnEnd, 0.5) <= 50, `turn ends: ${seen.turnEnd.join(" ")}`);
  });
});
