import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { playThrough } from "./scenario.ts";
import { MODEL_KEY, runOnce, skipWithout, TOOL_SAYS } from "./session.ts";

suite("the real Codex with a scripted model", { skip: skipWithout("codex") }, () => {
  test("in its own terminal: goal, tool over MCP, permission, interruption and leave, each seen by the channel that knows", async () => {
    await playThrough({
      runtime: "Codex",
      asks: `[[tool exec_command {"cmd":"touch inside-sandbox"}]] [[tool exec_command {"cmd":"touch outside-sandbox","sandbox_permissions":"require_escalated","justification":"To write it down"}]]`,
      allow: "y",
      interrupt: ["\x1b"],
      channels: {
        permission: "hook",
        done: "hook",
        interrupted: ["transcript", "title", "screen"],
      },
    });
  });

  test("one-shot: a tool over MCP, its own shell, and an end that its result and its exit agree on", async () => {
    const goal = `[[tool *clock_run {}]] [[tool exec_command {"cmd":"touch made-by-codex && echo touched"}]] [[say Well done.]]`;

    const { result, model, left } = await runOnce({ runtime: "Codex", goal });

    assert.deepEqual([result.outcome, result.reason], ["succeeded", "completed"]);
    assert.deepEqual(
      result.calls.map(({ tool, outcome }) => [tool, outcome]),
      [["clock", "completed"]],
    );
    assert.ok(model.requests.some(({ body }) => body.includes(TOOL_SAYS)));
    assert.ok(model.requests.some(({ body }) => body.includes("touched")));
    assert.ok(model.requests.every(({ key }) => key === MODEL_KEY));
    assert.deepEqual(left, []);
  });

  test("one-shot: a key that the service refuses is login_lost, never a success", async () => {
    const { result, left } = await runOnce({ runtime: "Codex", goal: "[[status 401]]" });

    assert.deepEqual([result.outcome, result.reason], ["failed", "login_lost"]);
    assert.deepEqual(left, []);
  });
});
