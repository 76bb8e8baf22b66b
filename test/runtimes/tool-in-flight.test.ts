// Heartbeats name the tool that a real CLI uses, as long as it does.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type KnownRuntime, knownRuntimes } from "../../src/protocol/runtimes.ts";
import { openSession, skipWithout } from "./session.ts";

/** A command that takes longer than a heartbeat, as the CLI's own tool. */
const SLEEPS: Partial<Record<KnownRuntime, [tool: string, directive: string]>> = {
  ClaudeCode: ["Bash", `[[tool Bash {"command":"sleep 8","description":"wait"}]]`],
  Codex: ["Bash", `[[tool exec_command {"cmd":"sleep 8","yield_time_ms":20000}]]`],
  OpenCode: ["bash", `[[tool bash {"command":"sleep 8","description":"wait"}]]`],
  Cline: ["run_commands", `[[tool run_commands {"commands":["sleep 8"]}]]`],
};

for (const [runtime, [tool, sleeps]] of Object.entries(SLEEPS))
  test(
    `${runtime} is seen to use ${tool} while it does, and none afterwards`,
    { skip: skipWithout(knownRuntimes[runtime as KnownRuntime].program) },
    async () => {
      await using session = await openSession({
        runtime,
        goal: `${sleeps} [[say That was all.]]`,
        attached: false,
        spec: { approvals: "allow" },
      });
      const tools = () => session.heartbeats().map((heartbeat) => heartbeat.tool?.name ?? null);

      await session.until(() => tools().includes(tool), "the tool in flight");
      const during = session.heartbeats().findLast((heartbeat) => heartbeat.tool?.name === tool);
      await session.until(() => tools().at(-1) === null, "no tool any more");

      assert.ok((during?.tool?.ageMs ?? Infinity) < 30_000, JSON.stringify(during));
      await session.stop();
    },
  );
