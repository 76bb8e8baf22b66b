// List policies that name one tool of a real CLI: denied where everything else is allowed, and allowed where everything else is denied.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { type KnownRuntime, knownRuntimes } from "../../src/protocol/runtimes.ts";
import { openSession, skipWithout } from "./session.ts";

const PATCH = "*** Begin Patch\n*** Add File: made.txt\n+hi\n*** End Patch\n";

/** Each makes `made.txt` in the workspace. */
const MAKES: [runtime: KnownRuntime, tool: string, directive: string][] = [
  ["ClaudeCode", "Write", `[[tool Write {"file_path":"made.txt","content":"hi"}]]`],
  [
    "Codex",
    "Bash",
    `[[tool exec_command {"cmd":"touch made.txt","sandbox_permissions":"require_escalated","justification":"it is wanted"}]]`,
  ],
  [
    "Codex",
    "apply_patch",
    `[[tool exec_command ${JSON.stringify({ cmd: `apply_patch <<'EOF'\n${PATCH}EOF` })}]]`,
  ],
  ["OpenCode", "bash", `[[tool bash {"command":"touch made.txt","description":"make it"}]]`],
  ["OpenCode", "edit", `[[tool write {"filePath":"made.txt","content":"hi"}]]`],
];

for (const [runtime, tool, makes] of MAKES)
  suite(
    `a policy by tool and ${tool} of the real ${runtime}`,
    { skip: skipWithout(knownRuntimes[runtime].program) },
    () => {
      for (const [answer, others] of [
        ["deny", "allow"],
        ["allow", "deny"],
      ] as const)
        test(`${answer} by its name, where everything else gets ${others}`, async () => {
          await using session = await openSession({
            runtime,
            goal: `${makes} [[say That was all.]]`,
            attached: false,
            spec: {
              approvals: [
                { tool, answer },
                { tool: "*", answer: others },
              ],
            },
          });

          await session.until(
            () => session.acts().some((act) => act.startsWith("answer spec.approvals done:")),
            "the answer",
          );
          const asked = (await session.states()).findIndex(({ state }) => state === "permission");
          await session.waitFor(({ state }) => state === "idle", asked);

          const answers = session.acts().filter((act) => act.startsWith("answer spec.approvals"));
          assert.ok(
            answers.some((act) => act.includes(`done: ${answer}`)),
            answers.join("\n"),
          );
          assert.ok(!answers.some((act) => act.includes(`done: ${others}`)), answers.join("\n"));
          const made = path.join(session.lab.workspace, "made.txt");
          assert.equal(existsSync(made), answer === "allow");
          await session.stop();
        });
    },
  );
