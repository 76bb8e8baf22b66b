import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { playThrough } from "./scenario.ts";
import { MODEL_KEY, runOnce, skipWithout, TOOL_SAYS } from "./session.ts";

suite("the real Cline with a scripted model", { skip: skipWithout("cline") }, () => {
  test("in its own terminal: goal, tool over MCP, permission, interruption and leave, each seen by the channel that knows", async () => {
    await playThrough({
      runtime: "Cline",
      asks: `[[tool run_commands {"commands":["touch made-by-cline"]}]]`,
      allow: "y",
      times: 2,
      interrupt: ["\x1b"],
      channels: { permission: "screen", done: "hook", interrupted: ["hook", "screen"] },
    });
  });

  test("one-shot: a tool over MCP, its own shell, and an end that its result and its exit agree on", async () => {
    const goal = `[[tool *clock_run {}]] [[tool run_commands {"commands":["echo touched"]}]] [[say Well done.]]`;

    const { result, model, left, recording } = await runOnce({ runtime: "Cline", goal });

    assert.deepEqual([result.outcome, result.reason], ["succeeded", "completed"], recording);
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
    const { result, left, recording } = await runOnce({
      runtime: "Cline",
      goal: "[[status 401]] x",
    });

    assert.deepEqual([result.outcome, result.reason], ["failed", "login_lost"], recording);
    assert.deepEqual(left, []);
  });
});
