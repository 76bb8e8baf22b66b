// A list policy that denies one tool of a real CLI by its own name, and allows all others.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { knownRuntimes } from "../../src/protocol/runtimes.ts";
import { openSession, skipWithout } from "./session.ts";

const DENIED = {
  ClaudeCode: ["Write", `[[tool Write {"file_path":"made.txt","content":"hi"}]]`],
  Codex: [
    "Bash",
    `[[tool exec_command {"cmd":"echo made","sandbox_permissions":"require_escalated","justification":"it is wanted"}]]`,
  ],
} as const;

for (const runtime of ["ClaudeCode", "Codex"] as const)
  suite(
    `a policy by tool and the real ${runtime}`,
    { skip: skipWithout(knownRuntimes[runtime].program) },
    () => {
      const [tool, asks] = DENIED[runtime];
      test(`${tool} is denied by its name where everything else is allowed`, async () => {
        await using session = await openSession({
          runtime,
          goal: `${asks} [[say That was all.]]`,
          attached: false,
          timeoutMs: 90_000,
          spec: {
            approvals: [
              { tool, answer: "deny" },
              { tool: "*", answer: "allow" },
            ],
          },
        });

        await session.until(
          () => session.acts().some((act) => act.startsWith("answer spec.approvals done: deny")),
          "the refusal",
        );

        assert.ok(!session.acts().some((act) => act.includes("done: allow")));
        await session.stop();
      });
    },
  );
