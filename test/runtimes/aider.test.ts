import assert from "node:assert/strict";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { assertOnlyOneKeyIn } from "./scenario.ts";
import { MODEL_KEY, openSession, runOnce, skipWithout } from "./session.ts";

suite("the real Aider with a scripted model", { skip: skipWithout("aider") }, () => {
  test("in its own terminal: the goal first, then it stays and remembers; leaves by itself with nothing left", async () => {
    await using session = await openSession({
      runtime: "Aider",
      goal: "[[say The first answer.]]",
    });

    const idle = await session.waitFor(({ state }) => state === "idle");
    assert.equal(idle.channel, "screen");
    const before = await session.states();
    assert.ok(!before.some(({ state }) => state === "blocked" || state === "question"));
    assertOnlyOneKeyIn(session);
    assert.equal(session.promptsSeen("The first answer."), 1);
    await session.prompt("[[say The second answer.]]");
    for (let waited = 0; session.promptsSeen("The second answer.") === 0; waited += 100) {
      assert.ok(waited < 60_000, "the second prompt never reached the model");
      await timers.setTimeout(100);
    }
    const second = session.model.requests.at(-1)?.body ?? "";
    assert.ok(second.includes("The first answer."), "it remembers");
    await session.waitFor(({ state }) => state === "idle", (await session.states()).length - 1);
    await session.type("/exit\r");
    const { result, end } = await session.ended();

    assert.deepEqual([result.outcome, result.exitCode], ["succeeded", 0], end.text);
    assert.ok(session.model.requests.every(({ key }) => key === MODEL_KEY));
    assert.deepEqual(await session.lab.leftovers(), []);
  });

  test("one-shot: an answer is a success, and a key that the service refuses is login_lost although it exits with 0", async () => {
    const good = await runOnce({ runtime: "Aider", goal: "[[say Well done.]]" });
    const bad = await runOnce({ runtime: "Aider", goal: "[[status 401]]" });

    assert.deepEqual([good.result.outcome, good.result.reason], ["succeeded", "exited"]);
    assert.deepEqual([bad.result.outcome, bad.result.reason], ["failed", "login_lost"]);
    assert.deepEqual([...good.left, ...bad.left], []);
  });
});
