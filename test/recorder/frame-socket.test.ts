import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { until } from "../helpers/until.ts";
import { silentLog } from "../../src/kit/log.ts";
import { verifyAsciicast } from "../../src/protocol/asciicast-verify.ts";
import { rawBytesOf, readAsciicast } from "../../src/protocol/asciicast.ts";
import { encodeFrame } from "../../src/protocol/frames.ts";
import { Redaction } from "../../src/recorder/redaction.ts";
import { FrameSocket } from "../../src/recorder/frame-socket.ts";
import { listenForMarkers } from "../../src/recorder/marker-socket.ts";
import { Recording } from "../../src/recorder/recording.ts";
import { openSpool } from "../../src/recorder/spool.ts";
import { Producer, connectMute } from "./helpers/producer.ts";
import { aRun } from "./helpers/run-spec.ts";

suite("frame socket", () => {
  test("welcomes, acknowledges what is durable, and says sealed after the exit", async () => {
    await using room = await aRoom();
    using producer = await Producer.connect(room.path, room.token);

    assert.deepEqual(await producer.welcome(), {
      kind: "welcome",
      seq: 0,
      outputOffset: 0,
      inputOffset: 0,
    });
    producer.send(output(1, 0, "one"));
    await until("ack", () => producer.acked === 1);
    producer.send({ type: "exit", seq: 2, timeUs: 9000, status: 3 });
    await until("sealed", () => producer.has("sealed"));

    assert.equal(producer.acked, 2);
    assert.deepEqual((await verifyAsciicast(room.spoolPath)).problems, []);
    assert.deepEqual(await codes(room.spoolPath), ["o", "x"]);
  });

  test("refuses a second producer, and lets one in when the first has left", async () => {
    await using room = await aRoom();
    const first = await Producer.connect(room.path, room.token);
    await first.welcome();

    using second = await Producer.connect(room.path, room.token);
    await until("refused", () => second.replies.length > 0);
    first.send(output(1, 0, "x"));
    await until("ack", () => first.acked === 1);
    first[Symbol.dispose]();
    using third = await Producer.connect(room.path, room.token);

    assert.deepEqual(
      second.replies.map((reply) => reply.kind === "refused" && reply.code),
      ["producer_present"],
    );
    assert.equal((await third.welcome()).seq, 1);
  });

  test("closes and counts who proves nothing or wrongly, and the real producer does not notice", async () => {
    await using room = await aRoom();
    using producer = await Producer.connect(room.path, room.token);
    await producer.welcome();

    const mute = await connectMute(room.path);
    using wrong = await Producer.connect(room.path, "wrong".padEnd(40, "0"));
    using otherRole = await Producer.connect(room.path, room.token, "runner");
    const garbage = connect({ path: room.path });
    garbage.on("error", () => undefined);
    garbage.resume();
    garbage.write(randomBytes(4096));
    producer.send(output(1, 0, "x"));
    await until("ack", () => producer.acked === 1);
    const crowd = await Promise.all(Array.from({ length: 40 }, () => connectMute(room.path)));
    producer.send(output(2, 1, "y"));
    await until("ack", () => producer.acked === 2);
    await until("all closed", () =>
      [mute, wrong.socket, otherRole.socket, garbage, ...crowd].every((socket) => socket.destroyed),
    );

    assert.equal(room.frames.unproven, 44);
    assert.equal(producer.socket.destroyed, false);
  });

  for (const [what, bytes] of [
    ["garbage", Buffer.alloc(5000, 0xa5)],
    ["a frame of 2 GB", Buffer.from([0xff, 0xff, 0xff, 0x7f, 1])],
    ["a frame of no length", Buffer.alloc(8)],
    ["a frame that is not the next one", encodeFrame(output(7, 0, "x"))],
    ["bytes that skip some", encodeFrame(output(2, 50, "x"))],
    ["a size of 0x0", encodeFrame({ type: "resize", seq: 2, timeUs: 1, cols: 0, rows: 0 })],
    ["an exit status that is none", encodeFrame({ type: "exit", seq: 2, timeUs: 1, status: 999 })],
    [
      "a time after the end of all sessions",
      encodeFrame({ ...output(2, 1, "x"), timeUs: 2 ** 50 }),
    ],
    ["a time far ahead", encodeFrame({ ...output(2, 1, "x"), timeUs: 3700 * 1_000_000 })],
    ["a time that goes backwards", encodeFrame({ ...output(2, 1, "x"), timeUs: 999 })],
    [
      "an exit whose time goes backwards",
      encodeFrame({ type: "exit", seq: 2, timeUs: 0, status: 0 }),
    ],
  ] as const)
    test(`refuses a proven producer that sends ${what}, counts it, and goes on with the next one`, async () => {
      await using room = await aRoom();
      using bad = await Producer.connect(room.path, room.token);
      bad.send(output(1, 0, "a"));
      await until("ack", () => bad.acked === 1);

      bad.socket.write(bytes);
      await until("refused", () => bad.socket.destroyed);
      using good = await Producer.connect(room.path, room.token);
      const { seq } = await good.welcome();
      good.send(output(2, 1, "b"));
      await until("ack", () => good.acked === 2);

      const refusals = bad.replies.filter((reply) => reply.kind === "refused");
      assert.deepEqual(
        refusals.map(({ code }) => code),
        ["bad_frame"],
      );
      assert.match(refusals[0]?.message ?? "", /Frame|frame|byte/);
      assert.deepEqual([seq, room.frames.refused], [1, 1]);
      assert.equal((await rawOf(room.spoolPath)).toString(), "ab");
    });

  test("a frame that is refused moves no clock: the next one counts from the last that was taken", async () => {
    await using room = await aRoom();
    using bad = await Producer.connect(room.path, room.token);
    bad.send(output(1, 0, "a"));
    await until("ack", () => bad.acked === 1);

    // Half an hour ahead may be true, bytes that skip some may not.
    bad.send({ ...output(2, 50, "x"), timeUs: 1800 * 1_000_000 });
    await until("refused", () => bad.socket.destroyed);
    using good = await Producer.connect(room.path, room.token);
    good.send({ ...output(2, 1, "b"), timeUs: 1000 });
    await until("ack", () => good.acked === 2);
    room.recording.mark("now");
    await room.spool.flush(AbortSignal.timeout(5000));

    const events = (await Array.fromAsync(readAsciicast(room.spoolPath))).flatMap((item) =>
      item.kind === "event" ? [item.event] : [],
    );
    assert.ok((events.at(-1)?.timeUs ?? Infinity) < 60_000_000);
    assert.equal((await rawOf(room.spoolPath)).toString(), "ab");
  });

  test("drops what is sent again, to the byte", async () => {
    await using room = await aRoom();
    using producer = await Producer.connect(room.path, room.token);

    producer.send(output(1, 0, "abc"));
    producer.send({ type: "marker", seq: 2, timeUs: 2000, label: "m" });
    producer.send(output(1, 0, "abc"));
    producer.send({ type: "marker", seq: 2, timeUs: 2000, label: "m" });
    producer.send(output(3, 1, "bcdef"));
    await until("ack", () => producer.acked === 3);

    assert.equal((await rawOf(room.spoolPath)).toString(), "abcdef");
    assert.deepEqual(await codes(room.spoolPath), ["o", "m", "o"]);
  });

  for (const [what, bytes] of [
    ["a gap in the sequence", encodeFrame(output(3, 0, "x"))],
    ["a gap in the bytes", encodeFrame(output(1, 7, "x"))],
    ["garbage", randomBytes(64).fill(0xff, 0, 4)],
  ] as const) {
    test(`refuses ${what} as a bad frame, and serves the next connection`, async () => {
      await using room = await aRoom();
      using bad = await Producer.connect(room.path, room.token);
      await bad.welcome();

      bad.socket.write(bytes);
      await until("closed", () => bad.socket.destroyed);
      using good = await Producer.connect(room.path, room.token);
      good.send(output(1, 0, "x"));
      await until("ack", () => good.acked === 1);

      assert.deepEqual(
        bad.replies.slice(1).map((reply) => reply.kind === "refused" && reply.code),
        ["bad_frame"],
      );
    });
  }

  test("acknowledges half a character only when the rest is there", async () => {
    await using room = await aRoom({ heldMs: 600_000 });
    using producer = await Producer.connect(room.path, room.token);
    const bytes = Buffer.from("a🚀");

    producer.send({ type: "output", seq: 1, timeUs: 0, offset: 0, bytes: bytes.subarray(0, 3) });
    producer.send({ type: "resize", seq: 2, timeUs: 0, cols: 90, rows: 20 });
    await until("batch", () => room.recording.durable.out === 1);
    const before = producer.acked;
    producer.send({ type: "output", seq: 3, timeUs: 1000, offset: 3, bytes: bytes.subarray(3) });
    await until("ack", () => producer.acked === 3);

    assert.equal(before, 0);
    assert.equal((await texts(room.spoolPath)).join("|"), "a|90x20|🚀");
  });

  test("keeps half a character that stays alone as the bytes that it is", async () => {
    await using room = await aRoom();
    using producer = await Producer.connect(room.path, room.token);
    const bytes = Buffer.from([0x61, 0xf0, 0x9f]);

    producer.send({ type: "output", seq: 1, timeUs: 0, offset: 0, bytes });
    await until("ack", () => producer.acked === 1);
    producer.send(output(2, 3, "b"));
    await until("ack", () => producer.acked === 2);

    assert.deepEqual(await rawOf(room.spoolPath), Buffer.concat([bytes, Buffer.from("b")]));
    assert.deepEqual((await verifyAsciicast(room.spoolPath)).problems, []);
  });

  test("acknowledges a stream whose every frame ends inside a character", async () => {
    await using room = await aRoom();
    using producer = await Producer.connect(room.path, room.token);
    const bytes = Buffer.from(`a${"🚀".repeat(1000)}`);

    for (let seq = 1; seq <= 10; seq += 1) {
      const at = (seq - 1) * 400;
      producer.send({
        type: "output",
        seq,
        timeUs: seq,
        offset: at,
        bytes: bytes.subarray(at, at + 400),
      });
    }
    await until("ack", () => producer.acked === 10);

    // Only the very last half may have waited in vain.
    const raw = (await readFile(room.spoolPath, "utf8")).split("#raw ").length - 1;
    assert.ok(raw <= 1, `${raw} pieces were not whole`);
  });

  test("does not keep input when the run does not record it", async () => {
    await using room = await aRoom({ recordInput: false });
    using producer = await Producer.connect(room.path, room.token);

    producer.send({
      type: "input",
      seq: 1,
      timeUs: 0,
      offset: 0,
      bytes: Buffer.from("typed-password"),
    });
    producer.send(output(2, 0, "x"));
    await until("ack", () => producer.acked === 2);

    assert.deepEqual(await codes(room.spoolPath), ["o"]);
  });

  test("keeps input when the run records it", async () => {
    await using room = await aRoom({ recordInput: true });
    using producer = await Producer.connect(room.path, room.token);

    producer.send({ type: "input", seq: 1, timeUs: 0, offset: 0, bytes: Buffer.from("ls\r") });
    await until("ack", () => producer.acked === 1);

    assert.deepEqual(await texts(room.spoolPath), ["ls\r"]);
    assert.equal(room.recording.durable.in, 3);
  });
});

suite("marker socket", () => {
  test("takes markers of the tool-runner, in the session's time, and no one else's", async () => {
    await using room = await aRoom();
    using producer = await Producer.connect(room.path, room.token);
    using runner = await Producer.connect(room.markerPath, room.runnerToken, "runner");
    using agentlet = await Producer.connect(room.markerPath, room.token, "agentlet");

    producer.send({ ...output(1, 0, "x"), timeUs: 60_000_000 });
    await until("ack", () => producer.acked === 1);
    await timers.setTimeout(50);
    runner.socket.write(`{"label":"tool github-issues list"}\n{"label":"to`);
    runner.socket.write(`ol done \\ud83d","timeUs":999999999999}\n`);
    await until("markers", () => room.recording.durable.seq === 1 && room.spool.durableBytes > 0);
    runner.socket.end();
    await until("closed", () => runner.socket.destroyed && agentlet.socket.destroyed);
    await room.spool.flush(AbortSignal.timeout(5000));

    const markers = (await Array.fromAsync(readAsciicast(room.spoolPath))).flatMap((item) =>
      item.kind === "event" && item.event.code === "m" ? [item.event] : [],
    );
    assert.deepEqual(
      markers.map((event) => event.data),
      ["tool github-issues list", "tool done \ufffd"],
    );
    for (const { timeUs } of markers)
      assert.ok(timeUs >= 60_040_000 && timeUs < 62_000_000, `${timeUs}`);
  });

  test("closes a connection that sends no markers, without end or without sense", async () => {
    await using room = await aRoom();
    using nonsense = await Producer.connect(room.markerPath, room.runnerToken, "runner");
    using endless = await Producer.connect(room.markerPath, room.runnerToken, "runner");

    nonsense.socket.write(`{"label":5}\n`);
    endless.socket.write("x".repeat(100_000));

    await until("closed", () => nonsense.socket.destroyed && endless.socket.destroyed);
  });
});

interface Room extends AsyncDisposable {
  path: string;
  markerPath: string;
  spoolPath: string;
  token: string;
  runnerToken: string;
  recording: Recording;
  frames: FrameSocket;
  spool: Awaited<ReturnType<typeof openSpool>>;
}

async function aRoom(
  options: { recordInput?: boolean; secrets?: Buffer[]; heldMs?: number } = {},
): Promise<Room> {
  const stack = new AsyncDisposableStack();
  const run = stack.use(await aRun());
  const log = silentLog;
  const spool = stack.use(await openSpool({ path: run.spoolPath, log }));
  const header = { cols: 80, rows: 24, timestamp: 1, title: "t", term: "xterm-256color" };
  const recording = stack.use(
    new Recording(spool, {
      header,
      recordInput: options.recordInput ?? false,
      redaction: new Redaction(options.secrets ?? []),
      ...(options.heldMs === undefined ? {} : { heldMs: options.heldMs }),
    }),
  );
  const path = join(run.dir, "rec.sock");
  const markerPath = join(run.dir, "mark.sock");
  const token = run.boot.agentletToken;
  const { runnerToken } = run.boot;
  const frames = stack.use(await FrameSocket.listen({ path, token, recording, log }));
  stack.use(await listenForMarkers({ path: markerPath, token: runnerToken, recording, log }));
  const { spoolPath } = run;
  return {
    path,
    markerPath,
    spoolPath,
    token,
    runnerToken,
    recording,
    frames,
    spool,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function output(
  seq: number,
  offset: number,
  text: string,
): { type: "output"; seq: number; timeUs: number; offset: number; bytes: Buffer } {
  return { type: "output", seq, timeUs: seq * 1000, offset, bytes: Buffer.from(text) };
}

async function rawOf(path: string): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(rawBytesOf(path)));
}

async function codes(path: string): Promise<string[]> {
  return (await Array.fromAsync(readAsciicast(path))).flatMap((item) =>
    item.kind === "event" ? [item.event.code] : [],
  );
}

async function texts(path: string): Promise<string[]> {
  return (await Array.fromAsync(readAsciicast(path))).flatMap((item) =>
    item.kind === "event" ? [item.event.data] : [],
  );
}
