import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { driverOf } from "../../../src/agentlet/drivers/registry.ts";
import { Composer, unsentOn } from "../../../src/agentlet/states/composer.ts";
import { genericRules } from "../../../src/agentlet/states/rules/generic.ts";
import { RunStates } from "../../../src/agentlet/states/run-states.ts";
import type { KnownRuntime } from "../../../src/protocol/runtimes.ts";

/** An idle program with a prompt of its own; `shows` is the row of its cursor, which stands at its end. */
function openProgram(first: string) {
  let row = first;
  const view = () => ({ rows: [row], title: "", cursor: { row: 0, col: row.length } });
  const states = new RunStates({
    run: "it",
    rules: null,
    view,
    hasWriter: () => false,
    outputOffset: () => 0,
    screenOffset: () => 0,
    emit: () => undefined,
  });
  const says = (state: "busy" | "idle") =>
    states.signal({ channel: "hook", state, evidence: "the test" });
  says("idle");
  const composer = new Composer({ rules: genericRules, states, view });
  return {
    composer,
    says,
    person: (keys: string, shown: string) => {
      composer.personTypes(Buffer.from(keys));
      row = shown;
    },
    shows: (shown: string) => (row = shown),
    [Symbol.dispose]() {
      composer[Symbol.dispose]();
      states[Symbol.dispose]();
    },
  };
}

suite("text that was not sent", () => {
  test("stands behind the mark of each runtime, and in further rows, wherever the cursor stands", () => {
    const rows = [
      "• done",
      "",
      "› a long prompt that",
      "  is wrapped",
      "  and goes on",
      "",
      "  help",
    ];
    const on = (runtime: KnownRuntime, row: number, col: number, shown: string[]) =>
      unsentOn({ rows: shown, title: "", cursor: { row, col } }, marks(runtime));
    const alone = (runtime: KnownRuntime, row: string) => on(runtime, 0, row.length, [row]);

    assert.equal(on("Codex", 5, 2, rows), "a long prompt that");
    assert.equal(on("Codex", 4, 2, rows), "a long prompt that");
    assert.equal(on("Codex", 4, 13, rows), "and goes on");
    assert.equal(on("Codex", 3, 2, ["› sent before", "• done", "", "› Ask anything"]), "");
    assert.equal(on("ClaudeCode", 3, 2, ["❯ sent before", "  its row", "────", "❯ "]), "");
    for (const [runtime, mark] of MARKS) {
      assert.equal(alone(runtime, mark), "", `${runtime}: ${mark}`);
      assert.equal(alone(runtime, `${mark}half a thou`), "half a thou", `${runtime}: ${mark}`);
    }
  });

  test("in a program whose composer nobody knows is what somebody typed, until it is sent, taken back or given up", () => {
    for (const prompt of ["In [1]: ", "λ ", ""]) {
      using program = openProgram(prompt);
      const { composer, person, shows } = program;
      const told = [composer.holdsUnsent];
      shows("In [2]: ");
      told.push(composer.holdsUnsent);
      person("x", "In [2]: x");
      person("y", "In [2]: xy");
      told.push(composer.holdsUnsent);
      person("\x7f\x7f", "In [2]: ");
      told.push(composer.holdsUnsent);
      person("x", "In [2]: x");
      person("\r", "In [3]: ");
      told.push(composer.holdsUnsent);
      person("half a thou", "In [3]: half a thou");
      program.says("busy");
      program.says("idle");
      told.push(composer.holdsUnsent);

      assert.deepEqual(told, [false, false, true, false, false, false]);
    }
  });
});

function marks(runtime: KnownRuntime): RegExp {
  return driverOf(runtime).rules.composer ?? assert.fail(`${runtime} has no mark`);
}

const MARKS: [KnownRuntime, string][] = [
  ["ClaudeCode", "❯ "],
  ["ClaudeCode", "> "],
  ["ClaudeCode", " │ > "],
  ["Codex", "› "],
  ["OpenCode", "  ┃  "],
  ["Aider", "> "],
  ["Aider", "architect multi> "],
  ["Cline", " ❯ "],
  ["Goose", "🪿 "],
  ["Goose", "( O)> "],
  ["Cursor", "  → "],
  ["Cursor", " │ → "],
];
