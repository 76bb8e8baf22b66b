// Gemini CLI has no driver: it shows how any CLI runs as Custom, by a command that writes its settings and starts it.
import assert from "node:assert/strict";
import path from "node:path";
import { suite, test } from "node:test";
import { MODEL_KEY, runOnce, skipWithout } from "./session.ts";

const SETTINGS = JSON.stringify({
  general: { enableAutoUpdate: false },
  security: { auth: { selectedType: "gemini-api-key" }, folderTrust: { enabled: false } },
  privacy: { usageStatisticsEnabled: false },
});
const START = `mkdir -p ~/.gemini && printf '%s' '${SETTINGS}' > ~/.gemini/settings.json
export GEMINI_CLI_NO_RELAUNCH=true
exec /opt/agentkube/node "$0" -m gemini-2.5-pro --yolo -o stream-json -p "$AGENTKUBE_GOAL"`;

suite("the real Gemini CLI as Custom", { skip: skipWithout("gemini") }, () => {
  test("reaches its model through the gateway with the run's token, uses its own shell, and leaves nothing", async () => {
    const dirs = (process.env["PATH"] ?? "").split(":");
    const bin = dirs.find((dir) => /\/gemini-[^/]+\/node_modules\/\.bin$/.test(dir)) ?? "";
    const installed = path.dirname(path.dirname(bin));

    const { result, model, left, recording } = await runOnce({
      runtime: "Custom",
      goal: `[[tool run_shell_command {"command":"echo touched"}]] [[say Well done.]]`,
      model: { provider: "google", name: "gemini-2.5-pro" },
      spec: {
        command: ["/bin/sh", "-c", START, `${bin}/gemini`],
        mounts: [{ path: installed, mode: "ro" }],
      },
    });

    assert.equal(result.outcome, "succeeded", recording);
    assert.ok(model.requests.some(({ body }) => body.includes("touched")));
    assert.ok(model.requests.every(({ key }) => key === MODEL_KEY));
    assert.deepEqual(left, []);
  });
});
