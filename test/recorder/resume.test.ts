import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { silentLog } from "../../src/kit/log.ts";
import { verifyAsciicast } from "../../src/protocol/asciicast-verify.ts";
import { rawBytesOf } from "../../src/protocol/asciicast.ts";
import type { Frame } from "../../src/protocol/frames.ts";
import { Recording } from "../../src/recorder/recording.ts";
import { Redaction } from "../../src/recorder/redaction.ts";
import { openSpool } from "../../src/recorder/spool.ts";

const never = new AbortController().signal;
const header = { cols: 80, rows: 24, timestamp: 1, title: "t", term: "xterm-256color" };
const BODY = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7cF0hL3oR6";
const TOKEN = `ghp_${BODY}`;

suite("a recorder that goes on with another one's spool", () => {
  test("masks a token that wraps at the width that was set before it", async () => {
    await using dir = await temporary();
    const path = join(dir.path, "recording.cast");
    await record(path, [{ type: "resize", seq: 1, timeUs: 1000, cols: 40, rows: 24 }]);

    await record(path, [output(2, 0, wrapped("x".repeat(20), 40)), exit(3)]);

    assert.equal(await rawOf(path), masked("x".repeat(20), 40));
  });

  test("masks a token that wraps in a line whose beginning is a single long event", async () => {
    await using dir = await temporary();
    const path = join(dir.path, "recording.cast");
    // As JSON each of them is six bytes, and the screen shows none.
    const unseen = "\u0001".repeat(60_000);
    const before = unseen + "x".repeat(60);
    await record(path, [output(1, 0, before)]);

    await record(path, [output(2, before.length, wrapped("", 20)), exit(3)]);

    assert.equal(await rawOf(path), before + masked("", 20));
  });

  test("says which redaction set counts from there on, and numbers it on", async () => {
    await using dir = await temporary();
    const path = join(dir.path, "recording.cast");
    await record(path, [output(1, 0, "one two\r\n")]);

    await record(path, [output(2, 9, "one two\r\n"), exit(3)], [Buffer.from("one two")]);

    const text = await readFile(path, "utf8");
    const lines = text.split("\n").filter((line) => line.startsWith("#redaction "));
    assert.deepEqual(
      lines.map((line) => JSON.parse(line.slice("#redaction ".length))),
      [
        { set: 1, values: 0, shapes: 1 },
        { set: 2, values: 1, shapes: 1 },
      ],
    );
    assert.equal(await rawOf(path), "one two\r\n*******\r\n");
    assert.deepEqual((await verifyAsciicast(path)).problems, []);
  });

  test("takes no large file without a position for a spool, and leaves it as it is", async () => {
    await using dir = await temporary();
    const path = join(dir.path, "recording.cast");
    await writeFile(path, Buffer.alloc(17 * 1024 * 1024, "a line of something else\n"));

    await assert.rejects(openSpool({ path, log: silentLog }), /Expected a #pos line/);

    assert.equal((await readFile(path)).length, 17 * 1024 * 1024);
  });
});

/** The token where `first` of its characters stand before the edge of the screen. */
function wrapped(before: string, width: number): string {
  const first = before === "" ? 19 : width - before.length - 1;
  return `${before} ${TOKEN.slice(0, first)}\r\n${TOKEN.slice(first)} end\r\n`;
}

function masked(before: string, width: number): string {
  return wrapped(before, width).replaceAll(/[\w]+/g, (word) =>
    TOKEN.startsWith(word)
      ? `ghp_${"*".repeat(word.length - 4)}`
      : TOKEN.endsWith(word)
        ? "*".repeat(word.length)
        : word,
  );
}

/** One recorder's life: what it is given is durable when it goes. */
async function record(path: string, frames: Frame[], values: Buffer[] = []): Promise<void> {
  await using spool = await openSpool({ path, log: silentLog });
  const redaction = new Redaction(values);
  redaction.goOnAfter(spool.resumed?.redactionSet ?? 0);
  using recording = new Recording(spool, { header, recordInput: false, redaction });
  for (const frame of frames) recording.take(frame);
  await spool.flush(never);
}

function output(seq: number, offset: number, text: string): Frame {
  return { type: "output", seq, timeUs: seq * 1000, offset, bytes: Buffer.from(text) };
}

function exit(seq: number): Frame {
  return { type: "exit", seq, timeUs: seq * 1000, status: 0 };
}

async function rawOf(path: string): Promise<string> {
  return Buffer.concat(await Array.fromAsync(rawBytesOf(path))).toString();
}

async function temporary(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "resume-test-"));
  return {
    path,
    [Symbol.asyncDispose]: async () => await rm(path, { recursive: true, force: true }),
  };
}
