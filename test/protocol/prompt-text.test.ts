import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { AgentletCommand, MAX_PROMPT_BYTES } from "../../src/protocol/agentlet-link.ts";
import { PromptRun } from "../../src/protocol/manager-api.ts";

suite("the text of a prompt", () => {
  const sizes: [name: string, character: string, bytes: number][] = [
    ["ASCII", "x", 1],
    ["two bytes a character", "é", 2],
    ["three", "漢", 3],
    ["four, which are two units of a JavaScript string", "😀", 4],
  ];

  for (const [name, character, bytes] of sizes)
    test(`is measured in bytes of UTF-8: ${name}`, () => {
      const most = character.repeat(Math.floor(MAX_PROMPT_BYTES / bytes));
      const more = most + character;

      assert.equal(PromptRun.safeParse({ text: most }).success, true);
      const { error } = PromptRun.safeParse({ text: more });
      assert.equal(
        error?.issues[0]?.message,
        `Expected a prompt of 1 to 262144 bytes, got ${Buffer.byteLength(more)}`,
      );
    });

  test("is the same to the manager and to the agentlet", () => {
    const command = (text: string) =>
      AgentletCommand.safeParse({ kind: "prompt", request: "0123456789abcdef", by: "test", text });
    const { error } = command("é".repeat(200_000));

    assert.match(error?.issues.at(-1)?.message ?? "", /got 400000$/);
  });
});
