// Cursor's CLI speaks to its own service only and cannot be had here: a program that follows its documented output stands for it.
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { openLab, resultOf } from "../helpers/lab.ts";
import type { Lab } from "../helpers/lab.ts";

const KEY = "key_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH";

/** `-p --output-format stream-json`: init, assistant, result; it fails without its key, and shows what it was given. */
const STAND_IN = `#!/bin/sh
[ -n "$CURSOR_API_KEY" ] || { echo 'Not logged in'; exit 1; }
for word; do goal=$word; done
echo '{"type":"system","subtype":"init","session_id":"c6b62c6f-7ead-4fd6-9922-e952131177ff","apiKeySource":"env"}'
echo '{"type":"tool_call","subtype":"started","call_id":"1","tool_call":{}}'
printf '%s' "$goal" > made-by-cursor
case "$goal" in
  *fail*) echo '{"type":"result","subtype":"error","is_error":true,"result":"overloaded"}'; exit 1 ;;
  *cut*) exit 0 ;;
esac
echo "the key is $CURSOR_API_KEY"
echo '{"type":"result","subtype":"success","is_error":false,"duration_ms":1,"result":"done"}'
`;

function words(lab: Lab, goal: string, delivery: string): string[] {
  const bin = path.join(lab.config, "bin");
  mkdirSync(bin, { recursive: true });
  writeFileSync(path.join(bin, "cursor-agent"), STAND_IN);
  chmodSync(path.join(bin, "cursor-agent"), 0o755);
  const agent = lab.write("agent.yaml", {
    apiVersion: "agentkube.io/v1alpha1",
    kind: "Agent",
    metadata: { name: "it" },
    spec: {
      runtime: "Cursor",
      mode: "system",
      timeout: "40s",
      goal: { inline: goal },
      agentToken: { secretRef: { name: "agent-token", key: "token" }, delivery },
    },
  });
  return [agent, `--secret=agent-token/token=@${lab.write("key", KEY, 0o600)}`];
}

const run = (lab: Lab, given: string[]) =>
  lab.run(given, {
    env: { PATH: `${path.join(lab.config, "bin")}:${process.env["PATH"] ?? ""}` },
  }).ended;

suite("Cursor, by a stand-in that follows its documentation", () => {
  test("gets its key by env, is judged by its result line, and the key is masked in the recording", async () => {
    await using lab = openLab();

    const result = resultOf(await run(lab, words(lab, "write it down", "env")));

    assert.deepEqual([result.outcome, result.reason], ["succeeded", "completed"]);
    const cat = await lab.agentkube(["recording", "cat", result.recording?.path ?? ""]).ended;
    assert.match(cat.text, /the key is/);
    assert.ok(!cat.text.includes(KEY));
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("an error result, and an exit of 0 without a result, are failures", async () => {
    await using lab = openLab();

    const failed = resultOf(await run(lab, words(lab, "please fail", "env")));
    const cut = resultOf(await run(lab, words(lab, "be cut short", "env")));

    assert.deepEqual([failed.outcome, failed.reason], ["failed", "result_error"]);
    assert.deepEqual([cut.outcome, cut.reason], ["failed", "result_error"]);
  });

  test("brokered delivery is refused by name, with what to do", async () => {
    await using lab = openLab();

    const end = await run(lab, words(lab, "anything", "brokered"));

    assert.equal(end.code, 2, end.text);
    assert.match(end.text, /cursor has no custom endpoint.*delivery: env/i);
  });
});
