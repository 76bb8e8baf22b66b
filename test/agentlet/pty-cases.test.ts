import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Screen } from "../../src/kit/screen.ts";
import { isInComposer, typingOf } from "../../src/agentlet/states/keystrokes.ts";
import { viewOf } from "../../src/agentlet/terminal-state.ts";
import { zoneEnv } from "../../src/agentlet/zone.ts";
import { openTestZone, startOnTerminal } from "./open-zone.ts";
import type { TestZone } from "./open-zone.ts";
import { aRunSpec } from "./run-spec.ts";

const SESSION = "test/agentlet/pty-session.test.ts";
const LIFE = "test/agentlet/run-life.test.ts";
const VIEWERS = "test/agentlet/viewers.test.ts";
const QUERIES = "test/agentlet/terminal-queries.test.ts";
const INTERACTION = "test/agentlet/states/interaction.test.ts";
const RULES = "test/agentlet/states/rules.test.ts";
const HERE = "test/agentlet/pty-cases.test.ts";

/** Hard cases of driving programs in a terminal, each with the test that holds it, or the reason why there is none. */
const CASES: [name: string, file: string, title: string][] = [
  [
    "bytes split across reads",
    SESSION,
    "splits of characters and sequences do not matter: bytes come as they are",
  ],
  [
    "reads of 4 KiB are coalesced",
    SESSION,
    "puts the kernel's reads of 4 KiB together before it hands them on",
  ],
  // A thousand times each in test/soak/exits.test.ts.
  ["the tail at a fast exit", SESSION, "keeps the last byte of"],
  ["the tail when the consumer is paused", SESSION, "also when it was paused"],
  ["a child that does not read", SESSION, "does not burn CPU when the program reads nothing"],
  ["exit by signal", SESSION, "tells an exit code and a signal apart"],
  [
    "a reaper beside the program",
    HERE,
    "exit codes stay right while orphans are reaped around them",
  ],
  [
    "grandchildren with sessions of their own",
    LIFE,
    "stop ends a program that ignores signals, with its grandchildren, within 10 s",
  ],
  [
    "time to save at the end",
    HERE,
    "a program that saves its work on SIGTERM gets to do it, and it is on record",
  ],
  [
    "the CLI's own transcript at a stop",
    "test/agentlet/states/leaving.test.ts",
    "breaks off its turn, waits until it is idle, and only then asks it to leave",
  ],
  [
    "lines longer than a terminal's",
    SESSION,
    "types lines up to 4,095 bytes whole, and refuses a longer one loudly",
  ],
  ["XON and XOFF", SESSION, "Ctrl-S does not freeze the output"],
  [
    "large pastes",
    SESSION,
    "delivers a large input to a program that reads slowly, while its output is read",
  ],
  [
    "pastes only in paste mode",
    HERE,
    "without paste mode a prompt of several lines is not typed at all",
  ],
  [
    "breaking out of a paste",
    INTERACTION,
    "a prompt cannot break out of its paste, nor press keys",
  ],
  [
    "a placeholder in place of an echo",
    HERE,
    "a placeholder of a long paste counts as the text in the composer",
  ],
  [
    "Enter too early, twice or swallowed",
    INTERACTION,
    "an Enter that the CLI swallowed is pressed again, the text never",
  ],
  ["automation types over a person", INTERACTION, "while a person types automation waits"],
  [
    "a prompt into a bare shell",
    INTERACTION,
    "a prompt into a program that the CLI left on its terminal is refused",
  ],
  ["queries at the start", QUERIES, "have one answer each, from us"],
  [
    "replies split or doubled",
    QUERIES,
    "also while a person types in a terminal that would answer too",
  ],
  [
    "a storm of sizes",
    VIEWERS,
    "the viewer that typed last decides the size, after a moment of rest",
  ],
  ["viewers of many sizes", VIEWERS, "every viewer is told of a new size in its place"],
  [
    "a second viewer sees all of the screen",
    VIEWERS,
    "snapshot and stream give the same screen as the raw bytes",
  ],
  ["the seam between snapshot and stream", VIEWERS, "wherever a viewer comes in"],
  [
    "serialising stalls nobody",
    VIEWERS,
    "a long history is put together in slices, between which everything else goes on",
  ],
  [
    "a slow viewer",
    VIEWERS,
    "a viewer that does not keep up gets a fresh snapshot, and holds back nobody",
  ],
  [
    "the alternate screen at attach",
    VIEWERS,
    "the alternate screen comes to a viewer with the normal one behind it",
  ],
  [
    "modes left on after a detach",
    "test/e2e/terminal.test.ts",
    "detaches with Ctrl-] d, and the terminal is as before",
  ],
  ["OSC 52 reads", "test/kit/viewer-filter.test.ts", "hides every query from a viewer's terminal"],
  [
    "old prompts in the scrollback, and quotes of them",
    RULES,
    "a transcript that quotes every other dialog whole changes nothing",
  ],
  [
    "an update moves the words",
    RULES,
    "a screen with none of its layout is unknown, whatever its words are",
  ],
  [
    "torn frames",
    "test/agentlet/states/turns.test.ts",
    "torn frames and quotes included, and idle is never told falsely",
  ],
  [
    "inherited descriptors and environment",
    HERE,
    "a program starts with three descriptors and no variable of ours but those it is given",
  ],
  ["TERM", HERE, "a program is told of a terminal that every CLI knows"],
  [
    "prompts longer than an argument",
    "test/agentlet/drivers.test.ts",
    "gets a goal too long for argv as a file to read",
  ],
  [
    "dialogs at the start",
    "test/agentlet/states/run-states.test.ts",
    "a screen that no rule knows and that rests is told as blocked",
  ],
];
/** No test, and why. */
const NOT_TESTED: [name: string, reason: string][] = [
  [
    "keys in the encoding that the program asked for (kitty)",
    "Prompts are pasted and Enter is CR, which stays CR at every level of the protocol that CLIs were seen to ask for; a person's keys come encoded by their own terminal.",
  ],
];

const root = fileURLToPath(new URL("../../", import.meta.url));

test("each of 38 hard cases of terminals is held by a test that is there, or has a reason", () => {
  const missing = CASES.filter(([, file, title]) => {
    const path = join(root, file);
    return !existsSync(path) || !readFileSync(path, "utf8").includes(title);
  }).map(([name]) => name);

  assert.deepEqual(missing, []);
  assert.equal(CASES.length + NOT_TESTED.length, 38);
});

suite("hard cases of terminals", () => {
  let zone: TestZone;
  before(async () => {
    zone = await openTestZone();
  });
  after(async () => {
    await zone[Symbol.asyncDispose]();
  });

  test("exit codes stay right while orphans are reaped around them", async () => {
    const orphans =
      "i=0; while [ $i -lt 20 ]; do (setsid sh -c 'sleep 0.0$$ ; exit 3' &) ; i=$((i+1)); done";

    for (let round = 0; round < 10; round++) {
      const program = await startOnTerminal(zone, [
        "/bin/sh",
        "-c",
        `${orphans}; exit ${40 + round}`,
      ]);
      assert.deepEqual((await program.pty.ended).exit, { kind: "exited", code: 40 + round });
    }
  });

  test("a program that saves its work on SIGTERM gets to do it, and it is on record", async () => {
    const script =
      "trap '' INT; trap 'sleep 0.3; echo saved; exit 7' TERM; echo on; while :; do sleep 0.05; done";
    const program = await startOnTerminal(zone, ["/bin/sh", "-c", script]);
    await program.shows("on");

    zone.sandbox.signalAll(15);
    const { exit } = await program.pty.ended;

    assert.deepEqual(exit, { kind: "exited", code: 7 });
    assert.match(program.output().toString(), /saved/);
  });

  test("a program starts with three descriptors and no variable of ours but those it is given", async () => {
    const program = await startOnTerminal(zone, [
      "/bin/sh",
      "-c",
      "ls /proc/$$/fd; env | cut -d= -f1 | sort",
    ]);
    await program.pty.ended;

    const words = program.output().toString().trim().split(/\s+/);
    // The shell adds PWD, OLDPWD or _ itself, and one descriptor for its terminal when it is interactive.
    const variables = words.filter(
      (word) => /^[A-Z]/.test(word) && !/^(?:PWD|OLDPWD|SHLVL)$/.test(word),
    );
    assert.deepEqual(
      words.filter((word) => /^\d+$/.test(word)),
      ["0", "1", "2"],
    );
    assert.deepEqual(variables, ["HOME", "PATH", "PS1", "TERM"]);
  });

  test("every place where a mixed stream can be cut gives the same screen", async () => {
    const pieces = [
      "häßlich 漢字 🪿 ",
      "\x1b[31mred\x1b[0m",
      "\x1b]0;title ✳\x07",
      "\x1b[?2026h\x1b[5;5Hframe\x1b[?2026l",
      "\r\n",
      "\x1b[38;2;1;2;3m~",
      "\x1bP1$q\x1b\\",
      "\u0000\u0007\b",
    ];
    let text = "";
    for (let at = 0; Buffer.byteLength(text) < 64 * 1024; at++)
      text += pieces[(at * 7 + (at >> 3)) % pieces.length];
    const stream = Buffer.from(text);
    const screenOf = async (writes: Iterable<Buffer>) => {
      using screen = new Screen({ cols: 80, rows: 24 }, 0);
      for (const bytes of writes) screen.write(bytes);
      await new Promise<void>((resolve) => screen.write("", resolve));
      const { ground, ...view } = viewOf(screen);
      const grounds = view.rows.map((_, row) =>
        Array.from({ length: 80 }, (_, col) => ground?.(row, col)),
      );
      return { ...view, grounds };
    };

    const whole = await screenOf([stream]);
    const cutEverywhere = await screenOf(Array.from(stream, (byte) => Buffer.of(byte)));

    assert.deepEqual(cutEverywhere, whole);
  });
});

test("without paste mode a prompt of several lines is not typed at all", () => {
  assert.equal(typingOf("one\ntwo", false), null);
  assert.equal(typingOf("one", false)?.toString(), "one");
  assert.equal(typingOf("one\ntwo", true)?.toString(), "\x1b[200~one\ntwo\x1b[201~");
});

test("a placeholder of a long paste counts as the text in the composer", () => {
  const rows = ["────────", "❯ [Pasted text #1 +32 lines]", "────────"];

  assert.equal(
    isInComposer({ rows, title: "", cursor: { row: 1, col: 28 } }, "x\n".repeat(33)),
    true,
  );
  assert.equal(
    isInComposer({ rows: ["❯ "], title: "", cursor: { row: 0, col: 2 } }, "hello there"),
    false,
  );
});

test("a program is told of a terminal that every CLI knows", () => {
  const env = zoneEnv(aRunSpec({}), { url: "http://127.0.0.1:1", agentToken: "x" }, {});

  assert.deepEqual([env["TERM"], env["COLORTERM"]], ["xterm-256color", "truecolor"]);
});
