import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { playThrough } from "./scenario.ts";
import { MODEL_KEY, runOnce, skipWithout, TOOL_SAYS } from "./session.ts";

suite("the real Goose with a scripted model", { skip: skipWithout("goose") }, () => {
  test("in its own terminal: goal, tool over MCP, permission, interruption and leave, each seen by the channel that knows", async () => {
    await playThrough({
      runtime: "Goose",
      asks: `[[tool *shell {"command":"touch made-by-goose"}]]`,
      allow: "\r",
      times: 2,
      busyFirst: false,
      sameDialog: true,
      interrupt: ["\x03"],
      channels: { permission: "screen", done: "screen", interrupted: ["screen"] },
    });
  });

  test("one-shot: a tool over MCP, its own shell, and an end that its result and its exit agree on", async () => {
    const goal = `[[tool *clock_run {}]] [[tool *shell {"command":"echo touched"}]] [[say Well done.]]`;

    const { result, model, left, recording } = await runOnce({ runtime: "Goose", goal });

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
      runtime: "Goose",
      goal: "[[status 401]] x",
    });

    assert.deepEqual([result.outcome, result.reason], ["failed", "login_lost"], recording);
    assert.deepEqual(left, []);
  });
});
