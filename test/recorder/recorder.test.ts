import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { until } from "../helpers/until.ts";
import { verifyAsciicast } from "../../src/protocol/asciicast-verify.ts";
import { rawBytesOf, readAsciicast } from "../../src/protocol/asciicast.ts";
import type { Frame } from "../../src/protocol/frames.ts";
import { CloseCode } from "../../src/protocol/recording-link.ts";
import { Producer, ResendingProducer } from "./helpers/producer.ts";
import { RecorderProcess } from "./helpers/recorder-process.ts";
import { aRun } from "./helpers/run-spec.ts";
import { SmallManager } from "./helpers/small-manager.ts";

suite("session-recorder", { concurrency: 4 }, () => {
  test("records, ships, is verified, and leaves nothing", async () => {
    await using manager = await new SmallManager().listen();
    await using run = await aRun({ managerUrl: manager.url });
    await using recorder = await RecorderProcess.start(run);
    using producer = await Producer.connect(run.spec.sockets.recorder, run.boot.agentletToken);

    for (const frame of session(3)) producer.send(frame);
    const code = await recorder.exitCode();

    assert.equal(code, 0);
    assert.equal(manager.authorization, `Bearer ${run.boot.recorderToken}`);
    const sha256 = createHash("sha256").update(manager.bytes).digest("hex");
    assert.deepEqual(recorder.said, [
      { kind: "ready" },
      { kind: "sealed", recording: { bytes: manager.committed, sha256, verified: true } },
    ]);
    assert.deepEqual((await readdir(run.dir)).toSorted(), ["spec.json", "spool"]);
    assert.equal(existsSync(run.spec.spoolDir), false);
    const [first] = await Array.fromAsync(readAsciicast(chunks(manager.bytes)));
    const header = first?.kind === "header" ? first.header.fields : {};
    assert.equal(header["title"], "triage");
    assert.equal("command" in header, false);
  });

  test("killed again and again in the middle of 8 MB loses, repeats and changes no byte", async () => {
    await using manager = await new SmallManager().listen();
    await using run = await aRun({ managerUrl: manager.url });
    const frames = session(2000);
    await using recorders = new AsyncDisposableStack();
    let recorder = recorders.use(await RecorderProcess.start(run));
    using producer = new ResendingProducer(
      run.spec.sockets.recorder,
      run.boot.agentletToken,
      frames,
    );
    const produced = producer.run();

    for (const share of [0.1, 0.4, 0.7]) {
      await until("progress", () => producer.acked > frames.length * share);
      await recorder.killHard();
      recorder = recorders.use(await RecorderProcess.start(run));
    }
    await produced;
    const code = await recorder.exitCode();

    assert.equal(code, 0, recorder.log);
    await same(manager.bytes, frames);
    const result = await verifyAsciicast(chunks(manager.bytes));
    assert.deepEqual(result.problems, []);
    assert.equal(result.sha256, recorder.sealed()?.sha256);
  });

  test("goes on while the manager is away, dies in between and comes back, and ships from where it was", async () => {
    await using manager = await new SmallManager().listen();
    await using run = await aRun({ managerUrl: manager.url });
    await using recorder = await RecorderProcess.start(run);
    const frames = session(1200);
    using producer = new ResendingProducer(
      run.spec.sockets.recorder,
      run.boot.agentletToken,
      frames,
    );
    manager.closeAfter = 2;
    const produced = producer.run();

    await until("two connections", () => manager.connections >= 2);
    await manager.stop();
    const had = manager.committed;
    await produced;
    await timers.setTimeout(300);
    assert.equal(recorder.sealed(), null);
    await manager.listen();
    const code = await recorder.exitCode();

    assert.equal(code, 0, recorder.log);
    assert.ok(had < manager.committed);
    assert.equal(manager.wrongOffsets, 0);
    await same(manager.bytes, frames);
  });

  for (const code of [CloseCode.unauthorized, CloseCode.fenced, CloseCode.protocolMismatch]) {
    test(`takes close code ${code} for final, keeps the spool and says that it is not verified`, async () => {
      await using manager = await new SmallManager().listen();
      manager.refuseWith = code;
      await using run = await aRun({ managerUrl: manager.url });
      await using recorder = await RecorderProcess.start(run);
      using producer = await Producer.connect(run.spec.sockets.recorder, run.boot.agentletToken);
      for (const frame of session(3)) producer.send(frame);

      const exit = await recorder.exitCode();

      const file = await readFile(run.spoolPath);
      const sha256 = createHash("sha256").update(file).digest("hex");
      assert.equal(exit, 1);
      assert.equal(manager.connections, 1);
      assert.deepEqual(recorder.sealed(), { bytes: file.length, sha256, verified: false });
    });
  }

  test("does not believe a manager that holds other bytes", async () => {
    await using manager = await new SmallManager().listen();
    await using run = await aRun({ managerUrl: manager.url });
    await using recorder = await RecorderProcess.start(run);
    using producer = await Producer.connect(run.spec.sockets.recorder, run.boot.agentletToken);
    const [first, ...rest] = session(3);
    if (first !== undefined) producer.send(first);
    await until("some committed", () => manager.committed > 200);
    manager.bytes[150] = 0x58;
    for (const frame of rest) producer.send(frame);

    const exit = await recorder.exitCode();

    assert.deepEqual([exit, manager.verdict, recorder.sealed()?.verified], [1, "mismatch", false]);
    assert.equal(existsSync(run.spoolPath), true);
  });

  test("told that the producer is dead, takes what it sent, says so in the recording, and seals", async () => {
    await using manager = await new SmallManager().listen();
    await using run = await aRun({ managerUrl: manager.url });
    await using recorder = await RecorderProcess.start(run);
    using producer = await Producer.connect(run.spec.sockets.recorder, run.boot.agentletToken);
    const frames = session(100).slice(0, -1);
    await producer.welcome();
    for (const frame of frames) producer.send(frame);
    producer.socket.end();
    recorder.command({ kind: "producer_lost", cause: "agentlet got SIGKILL" });

    assert.equal(await recorder.exitCode(), 0, recorder.log);

    await same(manager.bytes, frames);
    const events = (await Array.fromAsync(readAsciicast(chunks(manager.bytes)))).filter(
      (item) => item.kind === "event",
    );
    assert.equal(events.at(-1)?.event.data, "recording interrupted: agentlet got SIGKILL");
    assert.equal(
      events.some((item) => item.event.code === "x"),
      false,
    );
  });

  test("without a supervisor seals what is there and ends", async () => {
    await using manager = await new SmallManager().listen();
    await using run = await aRun({ managerUrl: manager.url });
    await using recorder = await RecorderProcess.start(run);
    const frames = session(20);
    using producer = await Producer.connect(run.spec.sockets.recorder, run.boot.agentletToken);
    for (const frame of frames.slice(0, -1)) producer.send(frame);
    recorder.closeInput();
    await timers.setTimeout(300);
    // The agentlet lost its supervisor too, and ends its run in an orderly way.
    for (const frame of frames.slice(-1)) producer.send(frame);

    const code = await recorder.exitCode();

    assert.equal(code, 0, recorder.log);
    await same(manager.bytes, frames);
    const events = (await Array.fromAsync(readAsciicast(chunks(manager.bytes)))).filter(
      (item) => item.kind === "event",
    );
    assert.equal(events.at(-1)?.event.code, "x");
  });

  test("without a supervisor and without a manager gives up in 10 s and keeps the spool", async () => {
    await using run = await aRun();
    await using recorder = await RecorderProcess.start(run);
    const start = performance.now();

    recorder.closeInput();
    const code = await recorder.exitCode();

    assert.equal(code, 1);
    assert.equal(recorder.sealed()?.verified, false);
    assert.ok(performance.now() - start < 12_000);
    const events = (await Array.fromAsync(readAsciicast(run.spoolPath))).filter(
      (item) => item.kind === "event",
    );
    assert.deepEqual(
      events.map((item) => item.event.data),
      ["recording interrupted: supervisor lost"],
    );
  });

  test("killed after the end goes on shipping when started again", async () => {
    await using run = await aRun();
    const manager = new SmallManager();
    await manager.listen();
    const { port } = manager;
    await manager.stop();
    run.spec.manager.url = `http://127.0.0.1:${port}`;
    await using first = await RecorderProcess.start(run);
    const frames = session(10);
    using producer = new ResendingProducer(
      run.spec.sockets.recorder,
      run.boot.agentletToken,
      frames,
    );
    await producer.run();
    await first.killHard();

    await using _manager = await manager.listen();
    await using second = await RecorderProcess.start(run);

    assert.equal(await second.exitCode(), 0, second.log);
    await same(manager.bytes, frames);
  });

  test("says what is wrong when it cannot start", async () => {
    await using run = await aRun();
    run.spec.spoolDir = "/proc/no-such-place";
    await using recorder = await RecorderProcess.start(run);

    assert.equal(await recorder.exitCode(), 1);
    const [fault] = recorder.said;
    assert.equal(fault?.kind === "fault" ? fault.code : "", "spool_failed");
    assert.doesNotMatch(
      recorder.log + JSON.stringify(recorder.said),
      /agentlet-0|recorder-0|runner-0/,
    );
  });
});

/** Output of about 4 kB a frame, cut inside characters, some of it binary, with resizes and markers, and an exit. */
function session(count: number): Frame[] {
  const frames: Frame[] = [];
  const text = Buffer.from("\u001b[32mé│日本🚀\u001b[0m line of output 0123456789\r\n".repeat(80));
  let offset = 0;
  for (let seq = 1; seq < count; seq += 1) {
    const timeUs = seq * 700;
    if (seq % 50 === 0)
      frames.push({ type: "resize", seq, timeUs, cols: 80 + (seq % 40), rows: 24 });
    else if (seq % 77 === 0) frames.push({ type: "marker", seq, timeUs, label: `step ${seq}` });
    else {
      const bytes = Buffer.from(text.subarray(seq % 13, text.length - (seq % 17)));
      if (seq % 9 === 0) bytes.fill(0x80 + (seq % 0x80), 100, 130);
      frames.push({ type: "output", seq, timeUs, offset, bytes });
      offset += bytes.length;
    }
  }
  frames.push({ type: "exit", seq: count, timeUs: count * 700, status: 0 });
  return frames;
}

/** The recording holds exactly the bytes of the frames, and each fact once, in order. */
async function same(recording: Buffer, frames: Frame[]): Promise<void> {
  const bytes = Buffer.concat(await Array.fromAsync(rawBytesOf(chunks(recording))));
  const sent = Buffer.concat(
    frames.flatMap((frame) => (frame.type === "output" ? [frame.bytes] : [])),
  );
  assert.ok(bytes.equals(sent), `${bytes.length} bytes recorded of ${sent.length}`);
  const facts = (await Array.fromAsync(readAsciicast(chunks(recording)))).flatMap((item) =>
    item.kind === "event" &&
    /[rm]/.test(item.event.code) &&
    !item.event.data.startsWith("recording interrupted")
      ? [item.event.data]
      : [],
  );
  const expected = frames.flatMap((frame) =>
    frame.type === "resize"
      ? [`${frame.cols}x${frame.rows}`]
      : frame.type === "marker"
        ? [frame.label]
        : [],
  );
  assert.deepEqual(facts, expected);
}

async function* chunks(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_521) yield bytes.subarray(at, at + 65_521);
}
