import assert from "node:assert/strict";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { createHash } from "node:crypto";
import { until } from "../helpers/until.ts";
import { compileRedactionSet } from "../../src/kit/redaction-set.ts";
import { ATTACH_LIMITS } from "../../src/agentlet/attachments.ts";
import { LiveTerminal, type LiveTerminalOptions } from "../../src/agentlet/live-terminal.ts";
import type { PtySession } from "../../src/agentlet/pty-session.ts";
import { openTestZone, startOnTerminal } from "./open-zone.ts";

const ATTACH = "0123456789abcdef";

/** One that records nothing; what a test cares about is given. */
function aTerminal(given: Partial<LiveTerminalOptions> = {}): LiveTerminal {
  return new LiveTerminal({
    size: { cols: 80, rows: 24 },
    redaction: compileRedactionSet([]),
    recorder: { output: () => {}, input: () => {}, resize: () => {} },
    recordInput: false,
    onScreen: () => {},
    onRefusedInput: () => {},
    ...given,
  });
}

/** What the person at the window of these tests types. */
function typist(terminal: LiveTerminal): (text: string) => void {
  return (text) =>
    terminal.handle({
      kind: "attach_input",
      attach: ATTACH,
      data: Buffer.from(text).toString("base64"),
    });
}

suite("LiveTerminal", () => {
  test("keeps what is typed and resized before the program runs for it, and nothing once it has ended", async () => {
    const typed: string[] = [];
    const sizes: [number, number][] = [];
    const pty = {
      write: (bytes: Buffer) => typed.push(bytes.toString()) > 0,
      hasRoom: () => true,
      resize: ({ cols, rows }: { cols: number; rows: number }) => sizes.push([cols, rows]) > 0,
    } as unknown as PtySession;
    using terminal = aTerminal();
    terminal.useWire({ sendMessage: () => {}, sendBinary: (_message, done) => done() });
    terminal.handle({ kind: "attach_open", attach: ATTACH, write: true, fromOffset: 0 });
    const type = typist(terminal);

    terminal.handle({ kind: "attach_resize", attach: ATTACH, cols: 101, rows: 31 });
    type("early ");
    // A window that is dragged is waited for.
    await timers.setTimeout(3 * ATTACH_LIMITS.resizeDebounceMs);
    const before = [...typed];
    terminal.use(pty);
    type("later");
    terminal.use(null);
    type("too late");

    assert.deepEqual(before, []);
    assert.deepEqual(typed, ["early ", "later"]);
    assert.deepEqual(sizes, [[101, 31]]);
  });

  test("says once that the program does not read, keeps the viewer and what it typed, and types it when it reads", () => {
    let isFull = false;
    const typed: string[] = [];
    const sent: string[] = [];
    let notices = 0;
    const pty = {
      write: (bytes: Buffer) => typed.push(bytes.toString()) > 0,
      hasRoom: () => !isFull,
      resize: () => false,
    } as unknown as PtySession;
    using terminal = aTerminal({ onRefusedInput: () => (notices += 1) });
    terminal.use(pty);
    terminal.useWire({
      sendMessage: (message) => sent.push(message.kind),
      sendBinary: (_message, done) => done(),
    });
    terminal.handle({ kind: "attach_open", attach: ATTACH, write: true, fromOffset: 0 });
    const type = typist(terminal);

    type("a");
    isFull = true;
    type("b");
    type("c");
    isFull = false;
    type("d");

    assert.deepEqual(typed, ["a", "b", "c", "d"]);
    assert.equal(notices, 1);
    assert.equal(sent.filter((kind) => kind === "attach_taken").length, 4);
    assert.ok(!sent.includes("attach_close"));
  });

  test("a program that puts its screen away at Ctrl-Z and waits for fg comes back by itself", async () => {
    await using zone = await openTestZone();
    // As Node's TUIs do: the terminal is given back, then they stop themselves, which without a shell stops nobody.
    const script = `
      process.stdin.setRawMode(true);
      process.stdin.on("data", (keys) => {
        if (keys.toString() !== process.argv[1]) return process.stdout.write("key ");
        process.stdin.setRawMode(false);
        process.stdout.write("suspended ");
        process.once("SIGCONT", () => { process.stdin.setRawMode(true); process.stdout.write("back "); });
        process.kill(0, "SIGTSTP");
      });
      process.stdout.write("ready ");`;
    for (const key of ["\x1a", "\x1b[122;5u", "\x1b[27;5;122~"]) {
      const argv = ["/opt/agentkube/node", "-e", script, key];
      const { pty, shows } = await startOnTerminal(zone, argv);
      using terminal = aTerminal();
      terminal.use(pty);
      terminal.useWire({ sendMessage: () => {}, sendBinary: (_message, done) => done() });
      terminal.handle({ kind: "attach_open", attach: ATTACH, write: true, fromOffset: 0 });
      const type = (text: string) => {
        const data = Buffer.from(text).toString("base64");
        terminal.handle({ kind: "attach_input", attach: ATTACH, data });
      };
      await shows("ready");

      type(key);

      await shows(/suspended [^]*back/);
      type("x");
      await shows(/back [^]*key/);
      pty.abandon();
    }
  });

  test("a paste of 3 MiB into a program that reads late comes whole and in order, and is said to be taken only then", async () => {
    await using zone = await openTestZone();
    const bytes = Buffer.alloc(3 * 1024 * 1024);
    for (let at = 0; at < bytes.length; at += 8)
      bytes.write(`${at / 8}`.padStart(7, ".") + "\n", at);
    const script = `stty raw -echo; printf ready; sleep 1; head -c ${bytes.length} | sha256sum`;
    const { pty, output } = await startOnTerminal(zone, ["/bin/sh", "-c", script]);
    let taken = 0;
    using terminal = aTerminal();
    terminal.use(pty);
    terminal.useWire({
      sendMessage: (message) => {
        if (message.kind === "attach_taken") taken += message.bytes;
      },
      sendBinary: (_message, done) => done(),
    });
    terminal.handle({ kind: "attach_open", attach: ATTACH, write: true, fromOffset: 0 });
    while (!output().includes("ready")) await timers.setTimeout(5);

    // As a manager does: no more than a window of it on its way.
    let most = 0;
    for (let at = 0; at < bytes.length; at += 64 * 1024) {
      const data = bytes.toString("base64", at, at + 64 * 1024);
      terminal.handle({ kind: "attach_input", attach: ATTACH, data });
      await until("there is room", () => at + 64 * 1024 - taken <= 256 * 1024);
      most = Math.max(most, at - taken);
    }
    await pty.ended;

    const sum = createHash("sha256").update(bytes).digest("hex");
    assert.match(output().toString(), new RegExp(sum));
    assert.equal(taken, bytes.length);
    assert.ok(most > 0, "it never waited");
  });

  test("a flood that nobody watches ends on the screen masked, and who comes in meanwhile sees it so and all that follows", async () => {
    const secret = "correct-horse-battery-staple";
    const sent: string[] = [];
    const stream: Buffer[] = [];
    using terminal = aTerminal({ redaction: compileRedactionSet([Buffer.from(secret)]) });
    let bytes = 0;
    const print = (piece: Buffer) => {
      bytes += piece.length;
      terminal.output(piece);
    };
    const flood = Buffer.alloc(64 * 1024, `${`it is ${secret} `.padEnd(62, ".")}\r\n`);
    terminal.useWire({
      sendMessage: (message) => sent.push(JSON.stringify(message)),
      sendBinary: (message, done) => {
        stream.push(Buffer.from(message.subarray(16)));
        setImmediate(done);
      },
    });

    for (let piece = 0; piece < 100; piece += 1) print(flood);
    const offset = terminal.outputOffset;
    terminal.handle({ kind: "attach_open", attach: ATTACH, write: false, fromOffset: null });
    for (let piece = 0; piece < 10; piece += 1) print(flood);
    print(Buffer.from(`\x1b[2J\x1b[Hcalm ${secret}`));
    terminal.use(null);
    while (terminal.view().rows[0] !== `calm ${"*".repeat(secret.length)}`)
      await timers.setTimeout(5);
    await terminal.finish("over");

    assert.equal(offset, 100 * flood.length);
    assert.equal(terminal.outputOffset, bytes);
    assert.ok(!sent.join("").includes(secret) && !Buffer.concat(stream).includes(secret));
    assert.ok(
      Buffer.concat(stream)
        .toString()
        .endsWith(`calm ${"*".repeat(secret.length)}`),
    );
  });
});
