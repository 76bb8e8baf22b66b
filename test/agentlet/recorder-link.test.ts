import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, suite, test } from "node:test";
import timers from "node:timers/promises";
import { silentLog } from "../../src/kit/log.ts";
import { RecorderLink } from "../../src/agentlet/recorder-link.ts";
import type { RecorderLinkOptions } from "../../src/agentlet/recorder-link.ts";
import { isBytesFrame } from "../../src/protocol/frames.ts";
import { SmallRecorder } from "./small-recorder.ts";

const TOKEN = "t".repeat(43);

suite("RecorderLink", () => {
  let directory: string;
  let socket: string;
  let recorder: SmallRecorder;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "agentlet-rec-"));
    socket = join(directory, "rec.sock");
    recorder = new SmallRecorder(socket, TOKEN);
    await recorder.start();
  });
  afterEach(async () => {
    await recorder[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  });

  const openLink = (options: Partial<RecorderLinkOptions> = {}) =>
    new RecorderLink({
      socket,
      token: TOKEN,
      clock: () => Math.round(performance.now() * 1000),
      onFull: () => undefined,
      log: silentLog,
      ...options,
    });

  test("delivers frames in order with sequence, offset and time, up to sealed", async () => {
    await using link = openLink();

    link.output(Buffer.from("hello "));
    link.resize({ cols: 100, rows: 30 });
    link.output(Buffer.from("world"));
    link.input(Buffer.from("x"));
    const sealed = await link.exit(3);

    assert.equal(sealed, "sealed");
    assert.deepEqual(
      recorder.frames.map((frame) => [
        frame.seq,
        frame.type,
        isBytesFrame(frame) ? frame.offset : null,
      ]),
      [
        [1, "output", 0],
        [2, "resize", null],
        [3, "output", 6],
        [4, "input", 0],
        [5, "exit", null],
      ],
    );
    assert.equal(recorder.output().toString(), "hello world");
  });

  test("loses and repeats nothing when the recorder is killed again and again", async () => {
    await using link = openLink();
    let sent = "";

    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 200; i++) {
        const text = `${round}.${i} `;
        sent += text;
        link.output(Buffer.from(text));
        if (i % 50 === 0) await timers.setImmediate();
      }
      await recorder.kill();
      link.output(Buffer.from("while away "));
      sent += "while away ";
      await recorder.start();
      await timers.setTimeout(20);
    }
    const sealed = await link.exit(0);

    assert.equal(sealed, "sealed");
    assert.equal(recorder.output().toString(), sent);
    assert.deepEqual(
      recorder.frames.map((frame) => frame.seq),
      recorder.frames.map((_, index) => index + 1),
    );
  });

  test("asks the terminal to stop at the bound, and to go on when the recorder has caught up", async () => {
    const asked: boolean[] = [];
    recorder.acknowledges = false;
    await using link = openLink({
      onFull: (full) => asked.push(full),
      limits: { unackedBytes: 256 * 1024 },
    });
    await link.welcomed;

    for (let i = 0; i < 4; i++) link.output(Buffer.alloc(65_536));
    assert.deepEqual(asked, [true]);
    recorder.acknowledges = true;
    await recorder.kill();
    await recorder.start();
    await link.exit(0);

    assert.deepEqual(asked, [true, false]);
    assert.equal(recorder.output().length, 262_144);
  });

  test("gives up a recorder that stays away", async () => {
    await using link = openLink({ limits: { awayMs: 300 } });
    await link.welcomed;
    await recorder.kill();

    const error = await link.lost;

    assert.equal(error.code, "recorder_lost");
    assert.equal(await link.exit(0), "lost");
  });

  test("gives up a recorder that makes nothing durable once the program has ended", async () => {
    recorder.acknowledges = false;
    await using link = openLink({ limits: { awayMs: 300 } });
    await link.welcomed;

    const sealed = await link.exit(0);

    assert.equal(sealed, "lost");
  });

  test("refuses a recorder of another protocol at once, naming both versions", async () => {
    await recorder.kill();
    const other = createServer((client) =>
      client.write(`{"protocol":7,"nonce":"${"0".repeat(64)}"}\n`),
    );
    await new Promise<void>((resolve) => other.listen(socket, resolve));
    await using link = openLink();

    const error = await link.lost;

    assert.match(error.message, /protocol 7.*protocol 1/);
    other.close();
  });

  test("refuses a recorder that has frames of another session", async () => {
    await using first = openLink();
    first.output(Buffer.from("x"));
    await first.exit(0);
    await using second = openLink();

    const error = await second.lost;

    assert.equal(error.code, "recorder_refused");
  });

  test("sends its token over no wire: a recorder with another token never welcomes it", async () => {
    await recorder.kill();
    await using stranger = new SmallRecorder(socket, "u".repeat(43));
    await stranger.start();
    await using link = openLink({ limits: { awayMs: 300 } });

    link.output(Buffer.from("x"));
    await link.lost;

    assert.equal(stranger.frames.length, 0);
  });
});
