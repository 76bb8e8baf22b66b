import assert from "node:assert/strict";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { compileRedactionSet } from "../../src/kit/redaction-set.ts";
import { LiveTerminal } from "../../src/agentlet/live-terminal.ts";
import type { PtySession } from "../../src/agentlet/pty-session.ts";

const ATTACH = "0123456789abcdef";

suite("LiveTerminal", () => {
  test("says once that the program does not read, keeps the viewer, and types again when it reads", () => {
    let isFull = false;
    const typed: string[] = [];
    const sent: string[] = [];
    let notices = 0;
    const pty = {
      write: (bytes: Buffer) => !isFull && typed.push(bytes.toString()) > 0,
      resize: () => false,
    } as unknown as PtySession;
    using terminal = new LiveTerminal({
      size: { cols: 80, rows: 24 },
      redaction: compileRedactionSet([]),
      recorder: { output: () => {}, input: () => {}, resize: () => {} },
      recordInput: false,
      onScreen: () => {},
      onRefusedInput: () => (notices += 1),
    });
    terminal.use(pty);
    terminal.useWire({
      sendMessage: (message) => sent.push(message.kind),
      sendBinary: (_message, done) => done(),
    });
    terminal.handle({ kind: "attach_open", attach: ATTACH, write: true, fromOffset: 0 });
    const type = (text: string) =>
      terminal.handle({
        kind: "attach_input",
        attach: ATTACH,
        data: Buffer.from(text).toString("base64"),
      });

    type("a");
    isFull = true;
    type("b");
    type("c");
    isFull = false;
    type("d");

    assert.deepEqual(typed, ["a", "d"]);
    assert.equal(notices, 1);
    assert.ok(!sent.includes("attach_close"));
  });

  test("a flood that nobody watches ends on the screen masked, and who comes in meanwhile sees it so and all that follows", async () => {
    const secret = "correct-horse-battery-staple";
    const sent: string[] = [];
    const stream: Buffer[] = [];
    using terminal = new LiveTerminal({
      size: { cols: 80, rows: 24 },
      redaction: compileRedactionSet([Buffer.from(secret)]),
      recorder: { output: () => {}, input: () => {}, resize: () => {} },
      recordInput: false,
      onScreen: () => {},
      onRefusedInput: () => {},
    });
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
