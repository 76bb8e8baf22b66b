import assert from "node:assert/strict";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { playThrough } from "./scenario.ts";
import { MODEL_KEY, openSession, runOnce, skipWithout, TOOL_SAYS } from "./session.ts";

suite("the real Claude Code with a scripted model", { skip: skipWithout("claude") }, () => {
  test("one-shot: a tool over MCP, its own shell, and an end that its result and its exit agree on", async () => {
    const goal = `[[tool mcp__agentkube__clock_run {}]] [[tool Bash {"command":"echo noted > note.txt && cat note.txt","description":"look"}]] [[say Well done.]]`;

    const { result, model, left } = await runOnce({ runtime: "ClaudeCode", goal });

    assert.deepEqual([result.outcome, result.reason], ["succeeded", "completed"]);
    assert.deepEqual(
      result.calls.map(({ tool, outcome }) => [tool, outcome]),
      [["clock", "completed"]],
    );
    assert.ok(model.requests.some(({ body }) => body.includes(TOOL_SAYS)));
    assert.ok(model.requests.some(({ body }) => body.includes('"noted')));
    assert.ok(model.requests.every(({ key }) => key === MODEL_KEY));
    assert.deepEqual(left, []);
  });

  test("in its own terminal: goal, tool over MCP, permission, interruption and leave, each seen by the channel that knows", async () => {
    await playThrough({
      runtime: "ClaudeCode",
      asks: `[[tool Bash {"command":"touch outside && mkdir /tmp/made","description":"make it"}]]`,
      allow: "1",
      interrupt: ["\x1b"],
      channels: {
        permission: "hook",
        done: "hook",
        interrupted: ["transcript", "title", "screen"],
      },
    });
  });

  test("in its own terminal: its first request offers the tools, and its first turn uses one", async () => {
    await using session = await openSession({
      runtime: "ClaudeCode",
      goal: "[[tool *clock_run {}]] [[say That was all.]]",
    });

    await session.until(() => session.promptsSeen(TOOL_SAYS) >= 1, "the tool's result");
    const first = session.model.requests.find(({ path }) => path.endsWith("/v1/messages"));
    const { calls } = await session.stop();

    assert.match(first?.body ?? "", /"name":"mcp__agentkube__clock_run"/);
    assert.deepEqual(
      calls.map(({ outcome }) => outcome),
      ["completed"],
    );
  });

  test("its question is told with its options, and its answer reaches the model", async () => {
    const question = `{"questions":[{"question":"Which colour?","header":"Colour","multiSelect":false,"options":[{"label":"Red","description":"r"},{"label":"Blue","description":"b"}]}]}`;
    await using session = await openSession({
      runtime: "ClaudeCode",
      goal: `[[tool AskUserQuestion ${question}]]`,
    });

    const asked = await session.waitFor(({ state }) => state === "question");
    await timers.setTimeout(700);
    await session.type("2");
    await session.waitFor(({ state }) => state === "idle");

    assert.equal(asked.channel, "hook");
    assert.equal(asked.ask?.text, "Which colour?");
    assert.deepEqual(
      asked.ask?.options.slice(0, 2).map(({ label }) => label),
      ["Red", "Blue"],
    );
    assert.ok(session.promptsSeen('=\\"Blue\\"') >= 1 || session.promptsSeen("Blue") >= 2);
  });

  test("one-shot: a key that the service refuses is login_lost, never a success", async () => {
    const { result, left } = await runOnce({ runtime: "ClaudeCode", goal: "[[status 401]]" });

    assert.deepEqual([result.outcome, result.reason], ["failed", "login_lost"]);
    assert.deepEqual(left, []);
  });
});
