import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { eventually, openLab, repository } from "../helpers/lab.ts";
import type { Lab } from "../helpers/lab.ts";
import { anAgent } from "../helpers/manifests.ts";

// util-linux's script gives the command line a terminal.
const script = ["/usr/bin/script", "/bin/script"].find((file) => existsSync(file));
const skip = script === undefined ? "script (util-linux) is not installed" : false;

interface Person extends Disposable {
  /** what stands on the terminal so far */
  readonly seen: string;
  type(keys: string): void;
  readonly left: Promise<number | null>;
}

function sitDown(lab: Lab, words: string[]): Person {
  const quoted = [process.execPath, path.join(repository, "bin/agentkube.js"), ...words].map(
    (word) => `'${word}'`,
  );
  const child = spawn(
    script ?? "",
    ["-qfec", `stty cols 100 rows 30; exec ${quoted.join(" ")}`, "/dev/null"],
    {
      cwd: lab.workspace,
      env: {
        PATH: process.env["PATH"],
        HOME: lab.home,
        XDG_RUNTIME_DIR: lab.runtime,
        TMPDIR: lab.tmp,
        TERM: "xterm-256color",
      },
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  let seen = "";
  child.stdout.on("data", (chunk: Buffer) => (seen += chunk.toString("utf8")));
  child.stdin.on("error", () => undefined);
  return {
    get seen() {
      return seen;
    },
    type: (keys) => void child.stdin.write(keys),
    left: new Promise((resolve) => child.once("close", (code) => resolve(code))),
    [Symbol.dispose]: () => void child.kill("SIGKILL"),
  };
}

async function sees(person: Person, text: RegExp): Promise<void> {
  await eventually(
    () => (text.test(person.seen) ? true : undefined),
    `${text.source} in:\n${person.seen}`,
    20_000,
  ).catch(() => assert.match(person.seen, text));
}

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

  test("detaches with Ctrl-] d; the run goes on, can be attached to, and ends", async () => {
    await using lab = openLab();
    const program = `echo started; read -r line; echo "got:$line" | tee result`;
    using first = sitDown(lab, run(lab, program));
    await sees(first, /started/);

    first.type("\x1dd");
    assert.equal(await first.left, 0, first.seen);
    const { run: id } = await lab.waitForRun();
    using second = sitDown(lab, ["attach", id, "--write", `--data=${lab.data}`]);
    await sees(second, /started/);
    second.type("from the second\r");
    await second.left;

    await eventually(
      () => (existsSync(path.join(lab.workspace, "result")) ? true : undefined),
      "the result",
    );
    assert.equal(readFileSync(path.join(lab.workspace, "result"), "utf8"), "got:from the second\n");
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("stops the run with Ctrl-] k", async () => {
    await using lab = openLab();
    using person = sitDown(lab, run(lab, "echo started; while :; do sleep 1; done"));
    await sees(person, /started/);

    person.type("\x1dk");

    assert.equal(await person.left, 130, person.seen);
    assert.match(person.seen, /cancelled/);
    assert.deepEqual(await lab.leftovers(), []);
  });
});
