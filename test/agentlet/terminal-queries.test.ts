import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import headless from "@xterm/headless";
import { compileRedactionSet } from "../../src/kit/redaction-set.ts";
import { LiveTerminal } from "../../src/agentlet/live-terminal.ts";
import { answerQueries } from "../../src/agentlet/terminal-queries.ts";
import { openTestZone, startOnTerminal } from "./open-zone.ts";

const asks = fileURLToPath(new URL("../fixtures/asks-terminal.mjs", import.meta.url));
const ATTACH = "0123456789abcdef";
const SIZE = { cols: 80, rows: 24 };

suite("queries of a program on a real terminal", () => {
  test("have one answer each, from us, also while a person types in a terminal that would answer too", async () => {
    await using zone = await openTestZone();
    await copyFile(asks, join(zone.workspace, "asks.mjs"));
    using terminal = new LiveTerminal({
      size: SIZE,
      redaction: compileRedactionSet([]),
      recorder: { output: () => {}, input: () => {}, resize: () => {} },
      recordInput: false,
      onScreen: () => {},
      onRefusedInput: () => {},
    });
    // The person's terminal: it answers whatever it is asked, and what it says is typed.
    const person = new headless.Terminal({ ...SIZE, allowProposedApi: true, logLevel: "off" });
    const type = (text: string) =>
      terminal.handle({
        kind: "attach_input",
        attach: ATTACH,
        data: Buffer.from(text, "latin1").toString("base64"),
      });
    person.onData(type);
    answerQueries(person, type);
    terminal.useWire({
      sendMessage: (message) => {
        if (message.kind === "attach_snapshot") person.write(message.data);
      },
      sendBinary: (message, done) => person.write(message.subarray(16), done),
    });
    terminal.handle({ kind: "attach_open", attach: ATTACH, write: true, fromOffset: null });

    const argv = ["/opt/agentkube/node", join(zone.workspace, "asks.mjs")];
    const program = await startOnTerminal(zone, argv, {
      onOutput: (bytes) => {
        terminal.output(bytes);
        said += bytes.toString("latin1");
      },
    });
    let said = "";
    terminal.use(program.pty);
    const end = await program.pty.ended;
    terminal.use(null);
    person.dispose();

    assert.deepEqual(end.exit, { kind: "exited", code: 0 });
    const hex = /answers ([0-9a-f]+) \./.exec(said)?.[1] ?? "";
    const answers = new Map(JSON.parse(Buffer.from(hex, "hex").toString()) as [string, string][]);
    assert.deepEqual(Object.fromEntries(answers), {
      "\x1b[c": "\x1b[?1;2c",
      "\x1b[>c": "\x1b[>0;276;0c",
      "\x1b[=c": "\x1bP!|00000000\x1b\\",
      "\x1b[5n": "\x1b[0n",
      "\x1b[6n": answers.get("\x1b[6n"),
      "\x1b[>0q": "\x1bP>|agentkube\x1b\\",
      "\x1b[?u": "\x1b[?0u",
      "\x1b[14t": "\x1b[4;384;640t",
      "\x1b[16t": "\x1b[6;16;8t",
      "\x1b[18t": "\x1b[8;24;80t",
      "\x1b[?2004$p": "\x1b[?2004;2$y",
      "\x1b[?2026$p": "\x1b[?2026;2$y",
      "\x1b]4;1;?\x07": "\x1b]4;1;rgb:cdcd/0000/0000\x1b\\",
      "\x1b]10;?\x1b\\": "\x1b]10;rgb:d0d0/d0d0/d0d0\x1b\\",
      "\x1b]11;?\x1b\\": "\x1b]11;rgb:0000/0000/0000\x1b\\",
      "\x1b]12;?\x1b\\": "\x1b]12;rgb:d0d0/d0d0/d0d0\x1b\\",
      "\x1b]52;c;?\x07": "",
      "\x1b[?996n": "\x1b[?997;1n",
    });
    // Asked for twice in a row, reported twice.
    assert.match(answers.get("\x1b[6n") ?? "", /^\x1b\[\d+;\d+R$/);
  });
});
