import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { openFakeModel } from "../helpers/fake-model.ts";
import { openLab, resultOf } from "../helpers/lab.ts";
import { aTool, writePackage } from "../helpers/manifests.ts";

const KEY = "sk-ant-api03-0123456789abcdefghijklmnopqrstuvwxyz";
const isInstalled = (process.env["PATH"] ?? "")
  .split(":")
  .some((dir) => existsSync(path.join(dir, "claude")));
const skip = isInstalled ? false : "claude is not on PATH";

function claudeAgent(url: string, goal: string, spec: object = {}): object {
  return {
    apiVersion: "agentkube.io/v1alpha1",
    kind: "Agent",
    metadata: { name: "claude" },
    spec: {
      runtime: "ClaudeCode",
      mode: "system",
      network: "gateway",
      timeout: "90s",
      goal: { inline: goal },
      model: { name: "fake-model", provider: "anthropic", endpoint: { url, private: true } },
      agentToken: { secretRef: { name: "agent-token", key: "token" } },
      ...spec,
    },
  };
}

suite("the real Claude Code with a scripted model", { skip }, () => {
  test("answers through the gateway and ends as completed", async () => {
    await using lab = openLab();
    await using model = await openFakeModel(KEY);
    const agent = lab.write("agent.yaml", claudeAgent(model.url, "[[say Well done.]]"));
    const secret = lab.write("key", KEY, 0o600);

    const end = await lab.run([agent, `--secret=agent-token/token=@${secret}`], {
      timeoutMs: 110_000,
    }).ended;
    const result = resultOf(end);

    assert.deepEqual([result.outcome, result.reason], ["succeeded", "completed"], end.text);
    assert.ok(model.requests.every(({ key }) => key === KEY));
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("calls a tool over MCP and works in its workspace", async () => {
    await using lab = openLab();
    await using model = await openFakeModel(KEY);
    writePackage(path.join(lab.config, "clock"), "#!/bin/sh\necho half past tool\n");
    writeFileSync(path.join(lab.workspace, "note.txt"), "noted\n");
    const goal = `[[tool mcp__agentkube__clock_run {}]] [[tool Bash {"command":"cat note.txt && touch made-by-claude","description":"look"}]]`;
    const agent = lab.write("agent.yaml", claudeAgent(model.url, goal, { tools: ["clock"] }));
    const tool = lab.write("tool.yaml", aTool("clock"));
    const secret = lab.write("key", KEY, 0o600);

    const end = await lab.run([agent, tool, `--secret=agent-token/token=@${secret}`], {
      timeoutMs: 110_000,
    }).ended;
    const result = resultOf(end);

    assert.equal(result.outcome, "succeeded", end.text);
    assert.deepEqual(
      result.calls.map(({ tool: name, outcome }) => [name, outcome]),
      [["clock", "completed"]],
    );
    assert.ok(model.requests.some(({ body }) => body.includes("half past tool")));
    assert.ok(model.requests.some(({ body }) => body.includes("noted")));
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("in its own terminal: no dialog at a fresh HOME, the goal, a tool over MCP, then idle; stopped, it is on record", async () => {
    await using lab = openLab();
    await using model = await openFakeModel(KEY);
    writePackage(path.join(lab.config, "clock"), "#!/bin/sh\necho half past tool\n");
    const goal = "[[tool mcp__agentkube__clock_run {}]] [[say That was all.]]";
    const spec = { tools: ["clock"], mode: "supervised" };
    const agent = lab.write("agent.yaml", claudeAgent(model.url, goal, spec));
    const tool = lab.write("tool.yaml", aTool("clock"));
    const secret = lab.write("key", KEY, 0o600);

    const cli = lab.run([agent, tool, `--secret=agent-token/token=@${secret}`], {
      timeoutMs: 110_000,
    });
    const { run } = await lab.waitForRun(
      ({ state, calls }) => state === "idle" && calls.length === 1,
      60_000,
    );
    const events = JSON.stringify(await lab.get(`/v1/runs/${run}/events`));
    await lab.agentkube(["stop", run, "--data", lab.data]).ended;
    const result = resultOf(await cli.ended);

    assert.deepEqual([result.outcome, result.recording?.verified], ["cancelled", true]);
    assert.match(events, /"state":"busy"/);
    assert.doesNotMatch(events, /"state":"(?:blocked|permission|question)"/);
    assert.ok(model.requests.some(({ body }) => body.includes("half past tool")));
    assert.ok(model.requests.every(({ key }) => key === KEY));
    const cast = readFileSync(result.recording?.path ?? "", "utf8");
    assert.match(cast, /That was all/);
    assert.ok(!cast.includes(KEY));
    assert.deepEqual(await lab.leftovers(), []);
  });
});
