import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { driverOf } from "../../../src/agentlet/drivers/registry.ts";
import { matchScreen } from "../../../src/agentlet/states/match-screen.ts";
import type { Runtime } from "../../../src/protocol/runtimes.ts";

const keysOn = (runtime: Runtime, ...rows: string[]) =>
  matchScreen(driverOf(runtime).rules, { rows, title: "", cursor: null }, null)?.keys;

const LINE = "─".repeat(80);
const claude = (first: string) =>
  keysOn("ClaudeCode", LINE, " Bash command", " ls", " Do you want to proceed?", first, "   2. No");
const codex = (first: string) =>
  keysOn(
    "Codex",
    "  Would you like to run the following command?",
    first,
    "  2. No, and tell Codex what to do differently (esc)",
    "  Press enter to confirm or esc to cancel",
  );
const goose = (...marks: string[]) =>
  keysOn(
    "Goose",
    "◆  Goose would like to call the above tool, do you allow?",
    `│  ${marks[0]} Allow (Allow the tool call once)`,
    `│  ${marks[1]} Always Allow`,
    `│  ${marks[2]} Deny`,
    `│  ${marks[3]} Cancel`,
    "└",
  );

suite("allow says yes for this once", () => {
  test("where the first option is more than a yes, there is no allow; options and refusals are left", () => {
    assert.equal(claude(" ❯ 1. Yes")?.allow, "1");
    assert.equal(codex("› 1. Yes, proceed (y)")?.allow, "y");
    for (const keys of [
      claude(" ❯ 1. Yes, and auto-accept edits"),
      claude(" ❯ 1. Yes, and don't ask again"),
      keysOn("ClaudeCode", LINE, " Exit plan mode?", " ❯ 1. Yes, and switch to default", " 2. No"),
      codex("› 1. Yes, and don't ask again for this session (y)"),
    ]) {
      assert.equal(keys?.allow, undefined);
      assert.deepEqual([keys?.deny, keys?.option], ["\x1b", "key"]);
    }
  });

  test("Goose: arrows go from the option that is marked, and nothing is typed where none is", () => {
    assert.deepEqual(goose("●", "○", "○", "○"), {
      allow: "\r",
      deny: "\x1b[B\x1b[B\r",
      option: ["\r", "\x1b[B\r", "\x1b[B\x1b[B\r", "\x1b[B\x1b[B\x1b[B\r"],
    });
    assert.deepEqual(goose("○", "●", "○", "○"), {
      allow: "\x1b[A\r",
      deny: "\x1b[B\r",
      option: ["\x1b[A\r", "\r", "\x1b[B\r", "\x1b[B\x1b[B\r"],
    });
    assert.equal(goose("○", "○", "○", "○"), undefined);
  });

  test("OpenCode: arrows go from the option that has another colour, and only a refusal is left when none is told by it", () => {
    const rows = [
      "  ┃  △ Permission required",
      "  ┃   Allow once   Allow always   Reject   enter confirm",
    ];
    const on = (...marked: string[]) => {
      const columns = marked.map((label) => (rows[1] ?? "").indexOf(label));
      const ground = (row: number, col: number) => String(row === 1 && columns.includes(col));
      const view = { rows, title: "", cursor: null, ground };
      return matchScreen(driverOf("OpenCode").rules, view, null)?.keys;
    };

    assert.deepEqual(on("Allow once"), {
      allow: "\r",
      deny: "\x1b",
      option: ["\r", "\x1b[C\r", "\x1b[C\x1b[C\r"],
    });
    assert.deepEqual(on("Reject"), {
      allow: "\x1b[C\r",
      deny: "\x1b",
      option: ["\x1b[C\r", "\x1b[C\x1b[C\r", "\r"],
    });
    for (const unclear of [on(), on("Allow once", "Reject")])
      assert.deepEqual(unclear, { deny: "\x1b" });
  });

  test("OpenCode: what asks whether always is meant is not answered with allow", () => {
    const rows = ["  ┃  △ Always allow", "  ┃   Confirm   Cancel     ⇆ select  enter confirm"];

    assert.deepEqual(keysOn("OpenCode", ...rows), { deny: "\x1b", option: ["\r", "\x1b[C\r"] });
  });
});
