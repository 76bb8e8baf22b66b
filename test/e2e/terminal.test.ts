import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { findManager } from "../../src/cli/client.ts";
import { until } from "../helpers/until.ts";
import { openLab } from "../helpers/lab.ts";
import type { Lab } from "../helpers/lab.ts";
import { anAgent } from "../helpers/manifests.ts";
import { sees, sitDown, skip } from "../helpers/person.ts";

suite("a person at a terminal", { skip }, () => {
  const run = (lab: Lab, program: string) => [
    "run",
    `--data=${lab.data}`,
    lab.write("agent.yaml", anAgent(program)),
  ];

  test("types into the program, which has a real terminal of the same size; Ctrl-C is the program's", async () => {
    await using lab = openLab();
    const program = `trap 'echo interrupted' INT; test -t 0 && tty && stty size; read -r line; echo "got:$line"; read -r more; echo "then:$more"; exit 3`;
    using person = sitDown(lab, run(lab, program));

    await sees(person, /\/dev\/pts\/\d+\s+30 100/);
    person.type("hello there\r");
    await sees(person, /got:hello there/);
    person.type("\x03");
    await sees(person, /interrupted/);
    person.type("again\r");
    await sees(person, /then:/);

    assert.equal(await person.left, 3, person.seen);
    assert.match(person.seen, /failed/);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("detaches with Ctrl-] d, and the terminal is as before; the run goes on, can be attached to, and ends", async () => {
    await using lab = openLab();
    // The other screen, mouse, bracketed paste, kitty keys, no cursor: as TUIs leave them for as long as they run.
    const modes = String.raw`printf '\033[?1049h\033[?1000h\033[?2004h\033[>1u\033[?25l'`;
    const program = `${modes}; echo started; read -r line; echo "got:$line" | tee result`;
    using first = sitDown(lab, run(lab, program));
    await sees(first, /started/);

    first.type("\x1dd");
    assert.equal(await first.left, 0, first.seen);
    const afterKey = first.seen.slice(first.seen.indexOf("started"));
    for (const undone of ["[?1049l", "[?1000l", "[?2004l", "[<1u", "[?25h"])
      assert.ok(afterKey.includes(`\x1b${undone}`), `${undone} in ${JSON.stringify(afterKey)}`);
    const { run: id } = await lab.waitForRun();
    using second = sitDown(lab, ["attach", id, "--write", `--data=${lab.data}`]);
    await sees(second, /started/);
    second.type("from the second\r");
    await second.left;

    await until("the result", () =>
      existsSync(path.join(lab.workspace, "result")) ? true : undefined,
    );
    assert.equal(readFileSync(path.join(lab.workspace, "result"), "utf8"), "got:from the second\n");
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("whose window is closed reads why, and not that the run has ended", async () => {
    await using lab = openLab();
    using first = sitDown(lab, run(lab, "echo started; read -r line"));
    await sees(first, /started/);
    const { run: id } = await lab.waitForRun();
    const manager = await findManager(lab.data);
    const others = Array.from({ length: 63 }, () =>
      manager?.attach(id, { write: false, from: null }),
    );
    await Promise.all(others.map(async (other) => other && (await once(other, "message"))));

    using late = sitDown(lab, ["attach", id, `--data=${lab.data}`]);

    assert.equal(await late.left, 1, late.seen);
    assert.match(late.seen, /not shown here any more: More than 64 viewers are attached/);
    assert.doesNotMatch(late.seen, /ended/);
    for (const other of others) other?.terminate();
    first.type("\r");
    assert.equal(await first.left, 0, first.seen);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("stops the run with Ctrl-] k, and not when it is pasted, by a program too that asked for no marks", async () => {
    await using lab = openLab();
    using person = sitDown(
      lab,
      run(lab, `echo started; read -r line; echo "pasted \${#line}"; while :; do sleep 1; done`),
    );
    await sees(person, /started/);
    person.type("\x1b[200~a\x1dkb\x1b");
    person.type("[201~\r");
    await sees(person, /pasted 4/);

    person.type("\x1dk");

    assert.equal(await person.left, 130, person.seen);
    assert.match(person.seen, /cancelled/);
    assert.deepEqual(await lab.leftovers(), []);
  });
});
