import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { playThrough } from "./scenario.ts";
import { MODEL_KEY, openSession, runOnce, skipWithout, TOOL_SAYS } from "./session.ts";

suite("the real OpenCode with a scripted model", { skip: skipWithout("opencode") }, () => {
  test("in its own terminal: goal, tool over MCP, permission, interruption and leave, each seen by the channel that knows", async () => {
    await playThrough({
      runtime: "OpenCode",
      asks: `[[tool bash {"command":"touch made-by-opencode","description":"make it"}]]`,
      allow: "\r",
      interrupt: ["\x1b", "\x1b"],
      channels: { permission: "event", done: "event", interrupted: ["event"] },
    });
  });

  test("allow says yes to this once, though a person has moved the mark to another option", async () => {
    await using session = await openSession({
      runtime: "OpenCode",
      goal: `[[tool bash {"command":"touch made.txt","description":"make it"}]] [[say That was all.]]`,
    });
    const { ask } = await session.waitFor(
      (state) => state.state === "permission" && (state.ask?.options.length ?? 0) > 0,
    );
    await session.type("\x1b[C");
    const { lab, run } = session;
    const words = ["answer", run, "allow", "--ask", String(ask?.id ?? 0), "--data", lab.data];
    const answered = await lab.agentkube(words, { timeoutMs: 120_000 }).ended;
    const made = path.join(lab.workspace, "made.txt");
    await session.until(() => existsSync(made), "what the tool makes");

    assert.equal(answered.code, 0, answered.text);
    assert.match(session.acts().join("\n"), /done: allow; then busy/);
    assert.ok(!session.output().includes("Always allow"));
    await session.stop();
  });

  test("one-shot: a tool over MCP, its own shell, and an end that its result and its exit agree on", async () => {
    const goal = `[[tool *clock_run {}]] [[tool bash {"command":"touch made-by-opencode && echo touched","description":"make it"}]] [[say Well done.]]`;

    const { result, model, left, recording } = await runOnce({ runtime: "OpenCode", goal });

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
    const { result, left } = await runOnce({ runtime: "OpenCode", goal: "[[status 401]]" });

    assert.deepEqual([result.outcome, result.reason], ["failed", "login_lost"]);
    assert.deepEqual(left, []);
  });
});
