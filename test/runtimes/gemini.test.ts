// Gemini CLI has no driver: it shows how any CLI runs as Custom, by a command that writes its settings and starts it.
import assert from "node:assert/strict";
import path from "node:path";
import { suite, test } from "node:test";
import { playThrough } from "./scenario.ts";
import { MODEL_KEY, runOnce, skipWithout, TOOL_SAYS } from "./session.ts";

/** Its settings take variables: no file holds the token. */
const SETTINGS = JSON.stringify({
  general: { enableAutoUpdate: false },
  security: { auth: { selectedType: "gemini-api-key" }, folderTrust: { enabled: false } },
  privacy: { usageStatisticsEnabled: false },
  mcpServers: {
    agentkube: {
      httpUrl: "$AGENTKUBE_MCP_URL",
      headers: { Authorization: "Bearer $AGENTKUBE_AGENT_TOKEN" },
      trust: true,
    },
  },
});
const START = `mkdir -p ~/.gemini && printf '%s' '${SETTINGS}' > ~/.gemini/settings.json
export GEMINI_CLI_NO_RELAUNCH=true
exec /opt/agentkube/node "$0" -m gemini-2.5-pro "$@"`;
const ONE_SHOT = `${START} --yolo -o stream-json -p "$AGENTKUBE_GOAL"`;
const INTERACTIVE = `${START} -i "$AGENTKUBE_GOAL"`;

/** The manifest's part for it, wherever it is installed. */
function geminiWith(script: string): { spec: object; model: object } {
  const dirs = (process.env["PATH"] ?? "").split(":");
  const bin = dirs.find((dir) => /\/gemini-[^/]+\/node_modules\/\.bin$/.test(dir)) ?? "";
  const installed = path.dirname(path.dirname(bin));
  return {
    model: { provider: "google", name: "gemini-2.5-pro" },
    spec: {
      command: ["/bin/sh", "-c", script, `${bin}/gemini`],
      mounts: [{ path: installed, mode: "ro" }],
    },
  };
}

suite("the real Gemini CLI as Custom", { skip: skipWithout("gemini") }, () => {
  test("in its own terminal: goal, tool over MCP, permission, interruption and leave, seen by its title", async () => {
    await playThrough({
      runtime: "Custom",
      asks: `[[tool run_shell_command {"command":"touch made-by-gemini"}]]`,
      allow: "\r",
      titleOnly: true,
      interrupt: ["\x1b"],
      quit: ["\x03", "\x03"],
      channels: { permission: "title", done: "title", interrupted: ["title"] },
      ...geminiWith(INTERACTIVE),
    });
  });

  test("one-shot: reaches its model through the gateway, uses a tool over MCP and its own shell, and leaves nothing", async () => {
    const { result, model, left, recording } = await runOnce({
      runtime: "Custom",
      goal: `[[tool *clock_run {}]] [[tool run_shell_command {"command":"echo touched"}]] [[say Well done.]]`,
      ...geminiWith(ONE_SHOT),
    });

    assert.equal(result.outcome, "succeeded", recording);
    assert.deepEqual(
      result.calls.map(({ tool, outcome }) => [tool, outcome]),
      [["clock", "completed"]],
    );
    assert.ok(model.requests.some(({ body }) => body.includes(TOOL_SAYS)));
    assert.ok(model.requests.some(({ body }) => body.includes("touched")));
    assert.ok(model.requests.every(({ key }) => key === MODEL_KEY));
    assert.deepEqual(left, []);
  });

  test("one-shot: a key that the service refuses is a failure by its exit status", async () => {
    const { result, left } = await runOnce({
      runtime: "Custom",
      goal: "[[status 401]]",
      ...geminiWith(ONE_SHOT),
    });

    assert.deepEqual([result.outcome, result.reason], ["failed", "exited"]);
    assert.notEqual(result.exitCode, 0);
    assert.deepEqual(left, []);
  });
});
