import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import { silentLog } from "../../src/kit/log.ts";
import type { WhenFull } from "../../src/protocol/agent-manifest.ts";
import { verifyAsciicast } from "../../src/protocol/asciicast-verify.ts";
import { bytesOfEvent, CastGap, GAP_PREFIX, readIntact } from "../../src/protocol/asciicast.ts";
import { Recording } from "../../src/recorder/recording.ts";
import { Redaction } from "../../src/recorder/redaction.ts";
import { openSpool } from "../../src/recorder/spool.ts";
import type { Spool } from "../../src/recorder/spool.ts";
import { Producer } from "./helpers/producer.ts";
import { RecorderProcess } from "./helpers/recorder-process.ts";
import { aRun } from "./helpers/run-spec.ts";

const never = new AbortController().signal;
const MiB = 1024 * 1024;
const QUOTA = 16 * MiB;
const header = { cols: 80, rows: 24, timestamp: 1, title: "t", term: "xterm-256color" };
const needsRoot = process.getuid?.() === 0 ? false : "mounting a small file system needs root";

suite("a spool that is full", () => {
  test("with whenFull gap: what is dropped is counted, hashed, marked and acknowledged, and the end is kept", async () => {
    await using dir = await temporary();
    const path = join(dir.path, "recording.cast");
    await using spool = await openSpool({
      path,
      log: silentLog,
      quotaBytes: QUOTA,
      keepReserve: true,
    });
    using session = new Session(spool, "gap");

    await session.write(24 * MiB);
    session.exit();
    await spool.flush(never);

    assert.ok(session.recording.durable.ended);
    assert.equal(session.recording.durable.seq, session.seq);
    assert.ok((await stat(path)).size <= QUOTA);
    const { missing, markers } = await compare(path, session.given);
    assert.ok(missing > 8 * MiB);
    assert.equal(session.recording.proven.gaps, missing);
    assert.equal((await verifyAsciicast(path)).gapBytes, missing);
    assert.deepEqual(markers, [
      "recording gap: the spool is full, output is not recorded from here on",
      `recording gap: ${missing} bytes of output were not recorded`,
    ]);
  });

  test(
    "with whenFull gap, on a disk that gets room again: the gap ends, and what comes after is whole",
    {
      skip: needsRoot,
    },
    async () => {
      await using dir = await temporary();
      mount(dir.path, "12m");
      try {
        const path = join(dir.path, "recording.cast");
        await using spool = await openSpool({ path, log: silentLog, keepReserve: true });
        using session = new Session(spool, "gap");

        await session.write(12 * MiB);
        await until("a full spool", () => spool.isFull);
        await session.write(2 * MiB);
        mount(dir.path, "60m", "remount,");
        await until("room again", () => !spool.isFull);
        await session.write(MiB);
        session.exit();
        await spool.flush(never);

        const { missing } = await compare(path, session.given);
        assert.ok(missing > 0 && missing < 14 * MiB, `${missing} bytes are missing`);
        assert.deepEqual((await verifyAsciicast(path)).problems, []);
      } finally {
        execFileSync("umount", ["-l", dir.path]);
      }
    },
  );

  test("with whenFull gap, whose recorder is killed: the next one goes on with the gap's count", async () => {
    await using dir = await temporary();
    const path = join(dir.path, "recording.cast");
    const options = { path, log: silentLog, quotaBytes: QUOTA, keepReserve: true };
    const given: Buffer[] = [];
    let seq = 0;
    {
      await using spool = await openSpool(options);
      using session = new Session(spool, "gap", given);
      await session.write(20 * MiB);
      await until("a durable gap", () => session.recording.proven.gaps > 0);
      ({ seq } = session.recording.durable);
    }
    await using spool = await openSpool(options);
    using session = new Session(spool, "gap", given);
    assert.equal(session.recording.durable.seq, seq);

    session.sendAgain(seq);
    await session.write(MiB);
    session.exit();
    await spool.flush(never);

    await compare(path, given);
    assert.deepEqual((await verifyAsciicast(path)).problems, []);
  });

  test("with whenFull block, at the quota: the run has to end, its exit is kept, and what did not fit until then is stated", async () => {
    await using dir = await temporary();
    const path = join(dir.path, "recording.cast");
    await using spool = await openSpool({ path, log: silentLog, quotaBytes: QUOTA });
    using session = new Session(spool, "block");

    await session.write(8 * MiB);
    assert.equal(session.recording.mustStop, false);
    await session.write(16 * MiB);
    assert.ok(session.recording.mustStop);
    session.exit();
    await spool.flush(AbortSignal.timeout(10_000));

    assert.ok(session.recording.durable.ended);
    const { size } = await stat(path);
    assert.ok(size > QUOTA - 2 * MiB && size <= QUOTA, `${size} bytes`);
    const { missing } = await compare(path, session.given);
    assert.ok(missing > 0);
    const checked = await verifyAsciicast(path);
    assert.deepEqual(checked.problems, []);
    assert.equal(checked.gapBytes, missing);
  });

  test("whatever a frame becomes in the file, the exit fits below the quota", async () => {
    await using dir = await temporary();
    const path = join(dir.path, "recording.cast");
    await using spool = await openSpool({ path, log: silentLog, quotaBytes: QUOTA });
    using recording = new Recording(spool, {
      header,
      recordInput: false,
      redaction: new Redaction([]),
    });
    // Each byte is six in the file, and a frame is as large as they get.
    const bytes = Buffer.alloc(MiB - 64, 1);

    for (let seq = 1; seq <= 4; seq += 1) {
      const offset = (seq - 1) * bytes.length;
      recording.take({ type: "output", seq, timeUs: seq * 1000, offset, bytes });
      await recording.room();
    }
    recording.take({ type: "exit", seq: 5, timeUs: 5000, status: 0 });
    await spool.flush(AbortSignal.timeout(10_000));

    assert.ok(recording.durable.ended);
    assert.ok((await stat(path)).size <= QUOTA);
  });

  test("with whenFull terminate: the producer is told to end, and its exit is sealed", async () => {
    await using run = await aRun({ whenFull: "terminate", spoolQuotaBytes: QUOTA });
    await using recorder = await RecorderProcess.start(run);
    using producer = await Producer.connect(run.spec.sockets.recorder, run.boot.agentletToken);
    await producer.welcome();

    const bytes = Buffer.alloc(64 * 1024, "a line of output\r\n");
    let seq = 0;
    while (!producer.has("full") && seq < 1000) {
      seq += 1;
      producer.send({
        type: "output",
        seq,
        timeUs: seq * 1000,
        offset: (seq - 1) * bytes.length,
        bytes,
      });
      const sent = seq;
      await until("an acknowledgement", () => producer.acked >= sent - 32 || producer.has("full"));
    }
    producer.send({ type: "exit", seq: seq + 1, timeUs: seq * 1000, status: 143 });
    await until("sealed", () => producer.has("sealed"));

    assert.ok(producer.has("full"));
    assert.equal(recorder.sealed(), null, "there is no manager to verify it");
    const checked = await verifyAsciicast(run.spoolPath);
    assert.deepEqual(checked.problems, []);
    assert.ok(checked.bytes <= QUOTA);
  });
});

/** A recording that is fed as the agentlet does: frames in order, waiting for room. */
class Session implements Disposable {
  readonly recording: Recording;
  readonly given: Buffer[];
  seq: number;
  #offset: number;

  constructor(spool: Spool, whenFull: WhenFull, given: Buffer[] = []) {
    this.recording = new Recording(spool, {
      header,
      recordInput: false,
      redaction: new Redaction([]),
      whenFull,
    });
    this.given = given;
    this.seq = given.length;
    this.#offset = given.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  async write(bytes: number): Promise<void> {
    for (let done = 0; done < bytes; done += 64 * 1024) {
      const piece = Buffer.alloc(64 * 1024, `line ${this.seq} é of what a program says\r\n`);
      this.given.push(piece);
      this.seq += 1;
      this.recording.take(this.#frame(this.seq));
      this.#offset += piece.length;
      await this.recording.room();
    }
  }

  /** What a producer does after a reconnect. */
  sendAgain(after: number): void {
    const end = this.#offset;
    this.#offset = this.given.slice(0, after).reduce((sum, bytes) => sum + bytes.length, 0);
    for (let seq = after + 1; seq <= this.seq; seq += 1) {
      this.recording.take(this.#frame(seq));
      this.#offset += this.given[seq - 1]?.length ?? 0;
    }
    assert.equal(this.#offset, end);
  }

  exit(): void {
    this.seq += 1;
    this.recording.take({ type: "exit", seq: this.seq, timeUs: this.seq * 1000, status: 0 });
  }

  [Symbol.dispose](): void {
    this.recording[Symbol.dispose]();
  }

  #frame(seq: number): Parameters<Recording["take"]>[0] {
    const bytes = this.given[seq - 1] ?? Buffer.alloc(0);
    return { type: "output", seq, timeUs: seq * 1000, offset: this.#offset, bytes };
  }
}

/** Compares byte by byte what is recorded, and by hash what is not, with what was given. */
async function compare(
  path: string,
  given: Buffer[],
): Promise<{ missing: number; markers: string[] }> {
  const all = Buffer.concat(given);
  const markers: string[] = [];
  let at = 0;
  let missing = 0;
  for await (const item of readIntact(path)) {
    if (item.kind === "comment" && item.text.startsWith(GAP_PREFIX)) {
      const gap = CastGap.parse(JSON.parse(item.text.slice(GAP_PREFIX.length)));
      const piece = all.subarray(at, at + gap.bytes);
      assert.equal(gap.sha256, createHash("sha256").update(piece).digest("hex"));
      at += gap.bytes;
      missing += gap.bytes;
    }
    if (item.kind !== "event") continue;
    if (item.event.code === "m") markers.push(item.event.data);
    if (item.event.code !== "o") continue;
    const bytes = bytesOfEvent(item.event);
    assert.ok(all.subarray(at, at + bytes.length).equals(bytes), `differs at byte ${at}`);
    at += bytes.length;
  }
  assert.equal(at, all.length);
  return { missing, markers };
}

function mount(dir: string, size: string, remount = ""): void {
  const what = remount === "" ? ["-t", "tmpfs"] : [];
  execFileSync("mount", [
    ...what,
    "-o",
    `${remount}size=${size},mode=0700`,
    ...(remount === "" ? ["none"] : []),
    dir,
  ]);
}

async function temporary(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "when-full-"));
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
    },
  };
}
