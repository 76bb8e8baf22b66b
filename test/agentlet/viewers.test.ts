import assert from "node:assert/strict";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import headless from "@xterm/headless";
import { Attachments } from "../../src/agentlet/attachments.ts";
import type { AttachTerminal } from "../../src/agentlet/attachments.ts";
import { OutputRing } from "../../src/agentlet/output-ring.ts";
import { SequenceScanner } from "../../src/kit/sequence-scanner.ts";
import { Screen as ShownScreen } from "../../src/kit/screen.ts";
import { EMULATOR_LIMITS, TerminalState, viewOf } from "../../src/agentlet/terminal-state.ts";
import type { AgentletMessage } from "../../src/protocol/agentlet-link.ts";

const SIZE = { cols: 60, rows: 15 };

/** A terminal that shows bytes to the end, and what it then holds. */
async function gridOf(...parts: (string | Buffer)[]): Promise<string> {
  using screen = new ShownScreen(SIZE, 0);
  for (const part of parts) await new Promise<void>((resolve) => screen.write(part, resolve));
  return screen.text();
}

/** Every row that a terminal with a long memory holds after these bytes, without the empty ones at its end. */
async function historyOf(...parts: (string | Buffer)[]): Promise<string[]> {
  const terminal = new headless.Terminal({ ...SIZE, allowProposedApi: true, scrollback: 9000 });
  for (const part of parts) await new Promise<void>((resolve) => terminal.write(part, resolve));
  const { active } = terminal.buffer;
  const rows = Array.from({ length: active.length }, (_, i) =>
    (active.getLine(i)?.translateToString(true) ?? "").trimEnd(),
  );
  terminal.dispose();
  return rows;
}

/** Output of a lively program, the same for the same seed. */
function livelyOutput(seed: number, length: number): Buffer {
  let state = seed;
  const random = (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
  const parts: string[] = [];
  const kinds = [
    () => `\x1b[${1 + random(15)};${1 + random(60)}H`,
    () => `\x1b[${30 + random(8)};1m`,
    () => "\x1b[0m",
    () => "héllo wörld ",
    () => "日本語😀",
    () => "\r\n",
    () => "\x1b[K",
    () => `\x1b]2;title ${random(9)}\x07`,
    () => "\x1b[2J",
    () => `\x1b[38;2;${random(255)};${random(255)};9mcolour\x1b[m`,
    () => "\x1b[?25l",
    () => "\x1bP$q q\x1b\\",
  ];
  while (parts.join("").length < length) parts.push(kinds[random(kinds.length)]?.() ?? "");
  return Buffer.from(parts.join(""));
}

/** A manager's end of the wire that keeps what it gets. */
function keepingWire(options: { stalled?: boolean } = {}) {
  const messages: AgentletMessage[] = [];
  const stream: { offset: number; bytes: Buffer }[] = [];
  const waiting: (() => void)[] = [];
  return {
    messages,
    stream,
    release: () => {
      options.stalled = false;
      for (const done of waiting.splice(0)) done();
    },
    wire: {
      sendMessage: (message: AgentletMessage) => void messages.push(message),
      sendBinary: (message: Buffer, done: () => void) => {
        stream.push({ offset: Number(message.readBigUInt64LE(8)), bytes: message.subarray(16) });
        if (options.stalled === true) waiting.push(done);
        else setImmediate(done);
      },
    },
  };
}

function openTerminal() {
  const ring = new OutputRing();
  const replies: string[] = [];
  const sizes: unknown[] = [];
  const typed: string[] = [];
  const state = new TerminalState({
    ring,
    size: SIZE,
    onReply: (bytes) => replies.push(bytes.toString("latin1")),
    onAdvance: () => attachments.pump(),
  });
  const terminal: AttachTerminal = {
    ring,
    snapshot: () => state.snapshot(),
    snapshotWithHistory: (rows) => state.snapshotWithHistory(rows),
    size: () => SIZE,
    type: (bytes) => {
      typed.push(bytes.toString());
      return true;
    },
    resize: (size) => sizes.push(size),
  };
  const attachments = new Attachments(terminal);
  const output = (bytes: Buffer) => {
    ring.write(bytes);
    attachments.pump();
    state.wake();
  };
  const settled = async () => {
    while (state.parsedOffset !== ring.end) await timers.setTimeout(1);
  };
  return { ring, state, attachments, output, settled, replies, sizes, typed };
}

const ID = "00112233aabbccdd";
const OPEN = { kind: "attach_open", attach: ID, write: false, fromOffset: null } as const;

suite("viewers of a terminal", () => {
  test("snapshot and stream give the same screen as the raw bytes, wherever a viewer comes in", async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const bytes = livelyOutput(seed, 4000);
      const cut = 1 + ((seed * 331) % (bytes.length - 1));
      const { attachments, state, output, settled } = openTerminal();
      const { wire, messages, stream } = keepingWire();
      attachments.useWire(wire);

      output(bytes.subarray(0, cut));
      await settled();
      attachments.handle(OPEN);
      output(bytes.subarray(cut));
      await settled();
      await attachments.finish("over");

      const snapshot = messages.find((message) => message.kind === "attach_snapshot");
      assert.ok(snapshot?.kind === "attach_snapshot");
      assert.equal(stream[0]?.offset, snapshot.offset);
      const shown = await gridOf(snapshot.data, ...stream.map((piece) => piece.bytes));
      assert.equal(shown, await gridOf(bytes), `seed ${seed}, cut at ${cut}`);
      state[Symbol.dispose]();
    }
  });

  test("the alternate screen comes to a viewer with the normal one behind it", async () => {
    const { attachments, output, settled, state } = openTerminal();
    const { wire, messages, stream } = keepingWire();
    attachments.useWire(wire);
    const before = "a shell\r\n$ agent\x1b[?1049h\x1b[2J\x1b[Hthe agent's own screen";
    const after = " and more\x1b[?1049l\r\n$ back at the shell";

    output(Buffer.from(before));
    await settled();
    attachments.handle(OPEN);
    output(Buffer.from(after));
    await settled();
    await attachments.finish("over");

    const snapshot = messages.find((message) => message.kind === "attach_snapshot");
    assert.ok(snapshot?.kind === "attach_snapshot");
    assert.match(await gridOf(snapshot.data), /the agent's own screen/);
    const shown = await gridOf(snapshot.data, ...stream.map((piece) => piece.bytes));
    assert.equal(shown, await gridOf(before, after));
    assert.match(shown, /a shell[^]*back at the shell/);
    state[Symbol.dispose]();
  });

  test("a viewer that comes back streams on from its offset when the bytes are still held", async () => {
    const { attachments, output, settled, state } = openTerminal();
    const { wire, messages, stream } = keepingWire();
    attachments.useWire(wire);
    output(Buffer.from("0123456789"));
    await settled();

    attachments.handle({ ...OPEN, fromOffset: 4 });
    output(Buffer.from("abc"));

    assert.deepEqual(messages[0], {
      kind: "attach_snapshot",
      attach: ID,
      offset: 4,
      ...SIZE,
      data: "",
    });
    assert.equal(Buffer.concat(stream.map((piece) => piece.bytes)).toString(), "456789abc");
    state[Symbol.dispose]();
  });

  test("a viewer that does not keep up gets a fresh snapshot, and holds back nobody", async () => {
    const { attachments, output, settled, ring, state } = openTerminal();
    const slow = keepingWire({ stalled: true });
    attachments.useWire(slow.wire);
    attachments.handle(OPEN);

    for (let i = 0; i < 80; i++) {
      output(Buffer.alloc(64 * 1024, `line ${i}\r\n`));
      await timers.setImmediate();
    }
    output(Buffer.from("\x1b[2J\x1b[HTHE END"));
    await settled();
    const inFlight = slow.stream.reduce((sum, piece) => sum + piece.bytes.length, 0);
    slow.release();
    await attachments.finish("over");

    assert.ok(inFlight <= 512 * 1024, `${inFlight} bytes in flight`);
    const snapshots = slow.messages.filter((message) => message.kind === "attach_snapshot");
    const last = snapshots.at(-1);
    assert.equal(snapshots.length, 2);
    assert.ok(last?.kind === "attach_snapshot");
    const after = slow.stream.filter((piece) => piece.offset >= last.offset);
    assert.match(await gridOf(last.data, ...after.map((piece) => piece.bytes)), /THE END/);
    assert.equal(ring.end, last.offset + after.reduce((sum, piece) => sum + piece.bytes.length, 0));
    state[Symbol.dispose]();
  });

  test("the viewer that typed last decides the size, after a moment of rest; one that only looks, or whose mouse moves, never does", async () => {
    const { attachments, sizes, typed, state } = openTerminal();
    attachments.useWire(keepingWire().wire);
    const [other, looks] = ["ffffffffffffffff", "1111111111111111"];
    attachments.handle({ ...OPEN, write: true });
    attachments.handle({ ...OPEN, attach: other, write: true });
    attachments.handle({ ...OPEN, attach: looks });
    const resize = (attach: string, cols: number, rows: number) =>
      attachments.handle({ kind: "attach_resize", attach, cols, rows });
    const type = (attach: string, text: string) =>
      attachments.handle({
        kind: "attach_input",
        attach,
        data: Buffer.from(text).toString("base64"),
      });
    const rested = async () => await timers.setTimeout(60);

    for (let cols = 90; cols <= 100; cols++) resize(ID, cols, 30);
    resize(looks, 5, 5);
    await rested();
    // It has the right to type, and does not.
    resize(other, 70, 20);
    type(other, "\x1b[I\x1b[<35;10;5M");
    await rested();
    const before = [...sizes];
    type(other, "x");
    await rested();
    type(looks, "no");
    type(ID, "hi");
    await rested();
    attachments.handle({ kind: "attach_close", attach: ID, reason: "left" });
    await rested();

    assert.deepEqual(before, [{ cols: 100, rows: 30 }]);
    assert.deepEqual(sizes.slice(1), [
      { cols: 70, rows: 20 },
      { cols: 100, rows: 30 },
      { cols: 70, rows: 20 },
    ]);
    assert.deepEqual(typed, ["\x1b[I\x1b[<35;10;5M", "x", "hi"]);
    attachments[Symbol.dispose]();
    state[Symbol.dispose]();
  });

  test("every viewer is told of a new size in its place in the stream", async () => {
    const { attachments, output, settled, state } = openTerminal();
    const { wire, messages } = keepingWire();
    attachments.useWire(wire);
    attachments.handle(OPEN);
    output(Buffer.from("some output"));
    await settled();

    attachments.resized({ cols: 33, rows: 11 });

    assert.deepEqual(messages.at(-1), {
      kind: "attach_snapshot",
      attach: ID,
      offset: 11,
      cols: 33,
      rows: 11,
      data: "",
    });
    await attachments.finish("over");
    state[Symbol.dispose]();
  });

  test("history comes below the screen that was there at once, every row of it, and the stream goes on after it", async () => {
    const { attachments, output, settled, state } = openTerminal();
    const { wire, messages, stream } = keepingWire();
    attachments.useWire(wire);
    const rows = Array.from({ length: 900 }, (_, i) => `row ${i} ${"wide ".repeat(i % 40)}`);
    output(Buffer.from(`${rows.join("\r\n")}\r\n\x1b[2;9r\x1b[5;3Hhere`));
    await settled();

    attachments.handle({ ...OPEN, historyRows: 5000 });
    const first = messages.length;
    while (messages.length < 2) await timers.setImmediate();
    output(Buffer.from("\x1b[9;1H\nscrolled inside its margins"));
    await settled();
    await attachments.finish("over");

    assert.equal(first, 1);
    const [screen, full] = messages.filter((message) => message.kind === "attach_snapshot");
    assert.ok(screen?.kind === "attach_snapshot" && full?.kind === "attach_snapshot");
    assert.ok(screen.data.length < 3000, `${screen.data.length} bytes for a screen`);
    const later = stream.filter((piece) => piece.offset >= full.offset);
    const raw = [
      `${rows.join("\r\n")}\r\n\x1b[2;9r\x1b[5;3Hhere\x1b[9;1H\nscrolled inside its margins`,
    ];
    const shown = await historyOf(full.data, ...later.map((piece) => piece.bytes));
    assert.deepEqual(shown, await historyOf(...raw));
    assert.ok(shown.some((row) => row.startsWith("row 1 wide")));
    state[Symbol.dispose]();
  });

  test("a long history is put together in slices, between which everything else goes on", async () => {
    const { attachments, output, settled, state } = openTerminal();
    const { wire, messages } = keepingWire();
    attachments.useWire(wire);
    output(Buffer.from(Array.from({ length: 5100 }, (_, i) => `row ${i}`).join("\r\n")));
    await settled();

    attachments.handle({ ...OPEN, historyRows: 5000 });
    let turns = 0;
    while (messages.filter(({ kind }) => kind === "attach_snapshot").length < 2) {
      turns += 1;
      await timers.setImmediate();
    }

    // 5,000 rows in one go would be a turn or two.
    assert.ok(turns >= 20, `${turns} turns`);
    await attachments.finish("over");
    state[Symbol.dispose]();
  });

  test("a history and a screen full of colours fit into one message: the newest rows, and a large screen plain", async () => {
    const size = { cols: 1000, rows: 1000 };
    const ring = new OutputRing();
    using state = new TerminalState({
      ring,
      size,
      onReply: () => undefined,
      onAdvance: () => undefined,
    });
    let count = 0;
    const show = async (rows: number, cells: number) => {
      for (let row = 0; row < rows; row++) {
        const colours = Array.from({ length: cells }, () => {
          count += 1;
          const [r, g, b] = [count % 256, (count >> 8) % 256, (count * 7) % 256];
          return `\x1b[38;2;${r};${g};${b};48;2;${b};${r};${g}mX`;
        });
        ring.write(Buffer.from(`\r\n${row}=${colours.join("")}`));
        state.wake();
        while (state.parsedOffset !== ring.end) await timers.setImmediate();
      }
    };
    const bytesOf = (data: string | undefined) => Buffer.byteLength(JSON.stringify(data ?? ""));

    await show(1000, 110);
    const screen = state.snapshot();
    assert.ok(bytesOf(screen?.data) <= EMULATOR_LIMITS.screenBytes + 64 * 1024);
    using shown = new ShownScreen(size, 0);
    await new Promise<void>((resolve) => shown.write(screen?.data ?? "", resolve));
    assert.deepEqual(viewOf(shown).rows, state.view().rows);
    assert.deepEqual(viewOf(shown).cursor, state.view().cursor);

    await show(1500, 110);
    const all = await state.snapshotWithHistory(5000);
    // The screen is plain, and takes some 150 KiB.
    const most = EMULATOR_LIMITS.historyBytes + 512 * 1024;
    assert.ok(bytesOf(all?.data) <= most, `${bytesOf(all?.data)} bytes`);
    // The newest row of the history, below the screen's 1,000.
    assert.match(all?.data ?? "", /499/);
    assert.ok(bytesOf(all?.data) > EMULATOR_LIMITS.historyBytes / 2);
  });

  test("half a sequence before a skip and the tail after it never make a query", async () => {
    const { output, settled, replies, state } = openTerminal();
    output(Buffer.from("\x1b["));
    await settled();

    for (let i = 0; i < 40; i++) output(Buffer.alloc(64 * 1024, "0"));
    output(Buffer.alloc(64 * 1024, "c"));
    await settled();

    assert.equal(state.approximate, true);
    assert.deepEqual(replies, []);
    state[Symbol.dispose]();
  });

  test("what a program has set holds over a flood that was skipped", async () => {
    const { attachments, output, settled, state } = openTerminal();
    const { wire, messages } = keepingWire();
    attachments.useWire(wire);
    output(Buffer.from("\x1b[>7u\x1b[?1049h\x1b[?2004h\x1b[31mold"));
    await settled();

    for (let i = 0; i < 200; i++) output(Buffer.alloc(64 * 1024, "flood of text\r\n"));
    output(Buffer.from("calm"));
    await settled();
    attachments.handle(OPEN);

    const [snapshot] = messages;
    assert.ok(state.approximate && snapshot?.kind === "attach_snapshot");
    using shown = new ShownScreen(SIZE, 0);
    await new Promise<void>((resolve) => shown.write(snapshot.data, resolve));
    assert.deepEqual(viewOf(shown).rows, state.view().rows);
    assert.ok(!state.view().rows.join("").includes("old"));
    assert.match(snapshot.data, /\x1b\[>7u[^]*\x1b\[\?1049h[^]*\x1b\[\?2004h/);
    state[Symbol.dispose]();
  });

  test("a flood does not pile up in the emulator: it skips to the tail and says it is approximate", async () => {
    const { output, settled, state } = openTerminal();

    for (let i = 0; i < 200; i++) output(Buffer.alloc(64 * 1024, "flood of text\r\n"));
    output(Buffer.from("\x1b[2J\x1b[Hcalm"));
    await settled();

    assert.equal(state.approximate, true);
    assert.equal(state.view().rows[0], "calm");
    state[Symbol.dispose]();
  });
});

test("OutputRing holds exactly its last bytes, at any split", () => {
  const ring = new OutputRing(100);
  let all = "";
  for (let i = 0; i < 60; i++) {
    const text = `${i}`.repeat(1 + ((i * 7) % 90));
    ring.write(Buffer.from(text));
    all += text;
    assert.equal(ring.end, all.length);
    assert.equal(ring.slice(ring.start, 1000).toString(), all.slice(-100));
  }
  ring.write(Buffer.alloc(250, "z"));
  assert.equal(ring.slice(ring.start, 1000).toString(), "z".repeat(100));
  assert.throws(() => ring.slice(ring.start - 1, 1), RangeError);
});

test("SequenceScanner finds whole things only", () => {
  const cases: [string, number][] = [
    ["abc", 3],
    ["abc\x1b", 3],
    ["abc\x1b[31", 3],
    ["abc\x1b[31m", 8],
    ["a\x1b]2;titl", 1],
    ["a\x1b]2;title\x07b", 12],
    ["a\x1bPq\x1b", 1],
    ["a\x1bPq\x1b\\", 6],
    ["\x1b(B", 3],
  ];
  for (const [text, boundary] of cases) {
    const scanner = new SequenceScanner();
    for (const byte of Buffer.from(text, "latin1")) scanner.push(Buffer.from([byte]));
    assert.equal(scanner.boundary, boundary, JSON.stringify(text));
  }
  const half = new SequenceScanner();
  half.push(Buffer.from("x😀").subarray(0, 3));
  assert.equal(half.boundary, 1);
});
