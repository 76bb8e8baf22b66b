import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { MODEL_KEY, runOnce, skipWithout, TOOL_SAYS } from "../runtimes/session.ts";

suite("the real Claude Code", { skip: skipWithout("claude") }, () => {
  test("does its goal with a tool over MCP and a model key that it never has", async () => {
    const goal = "[[tool mcp__agentkube__clock_run {}]] [[say Well done.]]";

    const { result, model, left, recording } = await runOnce({ runtime: "ClaudeCode", goal });

    assert.deepEqual([result.outcome, result.reason], ["succeeded", "completed"], recording);
    assert.deepEqual(
      result.calls.map(({ tool, outcome }) => [tool, outcome]),
      [["clock", "completed"]],
    );
    assert.ok(model.requests.some(({ body }) => body.includes(TOOL_SAYS)));
    assert.ok(model.requests.every(({ key }) => key === MODEL_KEY));
    assert.ok(!recording.includes(MODEL_KEY));
    assert.deepEqual(left, []);
  });
});
