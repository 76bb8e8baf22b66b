import assert from "node:assert/strict";
import { suite, test } from "node:test";
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
      onOutput: () => {},
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
});
