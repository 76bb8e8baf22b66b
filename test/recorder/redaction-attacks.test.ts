// Ways by which a value could get past the recorder although its every form is known: through deaths, resizes, titles and bytes that are no text.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { until } from "../helpers/until.ts";
import { rawBytesOf } from "../../src/protocol/asciicast.ts";
import type { Frame } from "../../src/protocol/frames.ts";
import { Producer } from "./helpers/producer.ts";
import { RecorderProcess } from "./helpers/recorder-process.ts";
import { aRun } from "./helpers/run-spec.ts";
import type { TestRun } from "./helpers/run-spec.ts";

const SECRET = "hunter2-CORRECT-horse-battery";
const half = Math.floor(SECRET.length / 2);

const ATTACKS: [what: string, pieces: (Buffer | "resize" | "kill")[]][] = [
  [
    "the recorder is killed in the middle of it",
    [bytes(`key ${SECRET.slice(0, half)}`), "kill", bytes(`${SECRET.slice(half)} end\r\n`)],
  ],
  [
    "the recorder is killed at each half, with colours",
    [
      bytes(`\u001b[1m${SECRET.slice(0, 9)}`),
      "kill",
      bytes(`\u001b[0m${SECRET.slice(9, 20)}`),
      "kill",
      bytes(`${SECRET.slice(20)}\r\n`),
    ],
  ],
  [
    "the window is resized in the middle of it",
    [bytes(SECRET.slice(0, half)), "resize", bytes(`${SECRET.slice(half)}\r\n`)],
  ],
  [
    "it is in a title that a kill cuts",
    [
      bytes(`\u001b]0;token ${SECRET.slice(0, half)}`),
      "kill",
      bytes(`${SECRET.slice(half)}\u0007 done\r\n`),
    ],
  ],
  [
    "it stands between bytes that are not UTF-8",
    [Buffer.concat([Buffer.from([0xff, 0xfe]), bytes(SECRET), Buffer.from([0xc3, 0x28])])],
  ],
  [
    "bytes that are not UTF-8 end the piece in the middle of it",
    [
      Buffer.concat([Buffer.from([0x80]), bytes(SECRET.slice(0, half))]),
      bytes(SECRET.slice(half)),
      Buffer.from([0xe6, 0x97]),
    ],
  ],
  [
    "it is corrected by backspaces while it is typed",
    [bytes(`${SECRET.slice(0, 8)}xx\b \b\b \b${SECRET.slice(8)}\r\n`)],
  ],
  [
    "the cursor steps forward between its words",
    [bytes(`${SECRET.slice(0, 8)}\u001b[0C${SECRET.slice(8)}\r\n`)],
  ],
];

suite("a value that is known to the recorder", { concurrency: 2 }, () => {
  for (const [what, pieces] of ATTACKS)
    test(`does not get into the recording when ${what}`, async () => {
      await using run = await aRun();
      run.boot.zoneSecrets = [Buffer.from(SECRET).toString("base64")];
      await using recorders = new AsyncDisposableStack();
      let recorder = recorders.use(await RecorderProcess.start(run));
      const frames: Frame[] = [];
      let offset = 0;
      let producer = await connect(run, frames);
      const give = (frame: Frame): void => {
        frames.push(frame);
        producer.send(frame);
      };
      for (const piece of pieces) {
        const seq = frames.length + 1;
        const timeUs = seq * 1000;
        if (piece === "resize") give({ type: "resize", seq, timeUs, cols: 20, rows: 10 });
        else if (piece === "kill") {
          // Long enough for all that may be written to be written.
          await timers.setTimeout(250);
          await recorder.killHard();
          recorder = recorders.use(await RecorderProcess.start(run));
          producer = await connect(run, frames);
        } else {
          give({ type: "output", seq, timeUs, offset, bytes: piece });
          offset += piece.length;
        }
      }
      give({ type: "exit", seq: frames.length + 1, timeUs: 1_000_000, status: 0 });
      await until("sealed", () => producer.has("sealed"));

      const raw = Buffer.concat(await Array.fromAsync(rawBytesOf(run.spoolPath)));
      assert.equal(raw.length, offset, "not as long as what was given");
      const file = await readFile(run.spoolPath, "latin1");
      for (let at = 0; at + 6 <= SECRET.length; at += 1) {
        const part = SECRET.slice(at, at + 6);
        assert.equal(raw.includes(part), false, `bytes ${at} to ${at + 6} are in the output`);
        assert.equal(file.includes(part), false, `bytes ${at} to ${at + 6} are in the file`);
      }
      producer[Symbol.dispose]();
    });
});

/** A connection of the producer, past its welcome and what it sends again. */
async function connect(run: TestRun, frames: readonly Frame[]): Promise<Producer> {
  const producer = await Producer.connect(run.spec.sockets.recorder, run.boot.agentletToken);
  const { seq } = await producer.welcome();
  for (const frame of frames) if (frame.seq > seq) producer.send(frame);
  return producer;
}

function bytes(text: string): Buffer {
  return Buffer.from(text);
}
