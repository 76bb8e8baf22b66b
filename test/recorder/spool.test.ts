import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFile,
  mkdtemp,
  readFile,
  rm,
  stat,
  truncate,
  unlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import { silentLog } from "../../src/kit/log.ts";
import { verifyAsciicast } from "../../src/protocol/asciicast-verify.ts";
import { rawBytesOf } from "../../src/protocol/asciicast.ts";
import { Redaction } from "../../src/recorder/redaction.ts";
import { Recording } from "../../src/recorder/recording.ts";
import { openSpool } from "../../src/recorder/spool.ts";

const never = new AbortController().signal;
const header = { cols: 80, rows: 24, timestamp: 1, title: "t", term: "xterm-256color" };
const options = { header, recordInput: true, redaction: new Redaction([]) };

suite("spool", () => {
  test("is private, valid, and hashed as it lies on disk", async () => {
    await using dir = await temporary();
    const path = join(dir.path, "run", "recording.cast");
    await using spool = await openSpool({ path, log: silentLog });
    using recording = new Recording(spool, options);

    recording.take({
      type: "output",
      seq: 1,
      timeUs: 1000,
      offset: 0,
      bytes: Buffer.from("héllo"),
    });
    await spool.flush(never);

    const file = await readFile(path);
    assert.equal(spool.durableBytes, file.length);
    assert.equal(spool.sha256(), createHash("sha256").update(file).digest("hex"));
    assert.deepEqual((await verifyAsciicast(path)).problems, []);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.equal((await stat(join(dir.path, "run"))).mode & 0o777, 0o700);
    assert.equal(recording.durable.seq, 1);
  });

  test("has one recorder at a time", async () => {
    await using dir = await temporary();
    const path = join(dir.path, "recording.cast");
    await using _first = await openSpool({ path, log: silentLog });

    await assert.rejects(openSpool({ path, log: silentLog }), { code: "spool_failed" });
  });

  test("that was cut anywhere is repaired to the last batch, and goes on from there", async () => {
    await using dir = await temporary();
    const path = join(dir.path, "recording.cast");
    await record(path, 6);
    const whole = await readFile(path);
    const firstBatch = whole.indexOf("#pos");

    for (let cut = whole.length; cut > firstBatch; cut -= 7) {
      await writeFile(path, whole);
      await truncate(path, cut);
      // What a kill in the middle of a write may leave.
      if (cut % 2 === 0) await appendFile(path, `[0.001, "o", "ha`);
      await using spool = await openSpool({ path, log: silentLog });
      using recording = new Recording(spool, options);
      const { seq, out } = recording.durable;
      for (let next = seq + 1; next <= 6; next += 1)
        recording.take({ ...frame(next), bytes: bytesFor(next), offset: offsetOf(next) });
      await spool.flush(never);

      assert.ok(seq <= 6 && out === offsetOf(seq + 1), `cut at ${cut}`);
      assert.deepEqual((await verifyAsciicast(path)).problems, [], `cut at ${cut}`);
      const bytes = Buffer.concat(await Array.fromAsync(rawBytesOf(path)));
      assert.deepEqual(bytes, Buffer.concat([1, 2, 3, 4, 5, 6].map(bytesFor)), `cut at ${cut}`);
      const file = await readFile(path);
      assert.equal(spool.sha256(), createHash("sha256").update(file).digest("hex"));
    }
  });

  test("without a whole first batch begins anew", async () => {
    await using dir = await temporary();
    const path = join(dir.path, "recording.cast");
    await writeFile(path, `{"version":3,"term":{"cols":80,`);

    await using spool = await openSpool({ path, log: silentLog });
    using recording = new Recording(spool, options);
    await spool.flush(never);

    assert.equal(recording.durable.seq, 0);
    assert.deepEqual((await verifyAsciicast(path)).problems, []);
  });

  test("on a full disk loses nothing, corrupts nothing, and goes on when there is room", async (context) => {
    await using dir = await temporary();
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", dir.path], {
        stdio: "pipe",
      });
    } catch {
      context.skip("this user cannot mount a tmpfs");
      return;
    }
    try {
      const path = join(dir.path, "recording.cast");
      const filler = join(dir.path, "filler");
      await writeFile(filler, Buffer.alloc(128 * 1024));
      await using spool = await openSpool({ path, log: silentLog });
      using recording = new Recording(spool, options);
      await spool.flush(never);
      const bytes = Buffer.alloc(1000, "abcdefghi\n");
      for (let seq = 1; seq <= 180; seq += 1)
        recording.take({ type: "output", seq, timeUs: seq, offset: (seq - 1) * 1000, bytes });
      await until("the disk is full", () => spool.isFull);
      const before = recording.durable.seq;
      assert.ok(before < 180);
      assert.deepEqual((await verifyAsciicast(path)).problems, []);

      await unlink(filler);
      await spool.flush(never);

      assert.equal(recording.durable.seq, 180);
      const read = Buffer.concat(await Array.fromAsync(rawBytesOf(path)));
      assert.ok(read.equals(Buffer.alloc(180_000, bytes)));
      assert.deepEqual((await verifyAsciicast(path)).problems, []);
    } finally {
      execFileSync("umount", [dir.path]);
    }
  });

  test("with a producer faster than the disk holds a bounded amount", async () => {
    await using dir = await temporary();
    await using spool = await openSpool({ path: join(dir.path, "recording.cast"), log: silentLog });
    using recording = new Recording(spool, options);
    const bytes = Buffer.alloc(64 * 1024, "x");
    let waited = false;

    for (let seq = 1; seq <= 200; seq += 1) {
      recording.take({ type: "output", seq, timeUs: seq, offset: (seq - 1) * bytes.length, bytes });
      const free = await Promise.race([recording.room().then(() => true), Promise.resolve(false)]);
      waited ||= !free;
      await recording.room();
    }
    await spool.flush(never);

    assert.equal(waited, true);
    assert.equal(recording.durable.out, 200 * bytes.length);
  });
});

function frame(seq: number): { type: "output"; seq: number; timeUs: number } {
  return { type: "output", seq, timeUs: seq * 1500 };
}

function bytesFor(seq: number): Buffer {
  return seq % 2 === 0 ? Buffer.from([0xff, seq]) : Buffer.from(`é${seq}`);
}

function offsetOf(seq: number): number {
  let offset = 0;
  for (let at = 1; at < seq; at += 1) offset += bytesFor(at).length;
  return offset;
}

/** One batch a frame. */
async function record(path: string, frames: number): Promise<void> {
  await using spool = await openSpool({ path, log: silentLog });
  using recording = new Recording(spool, options);
  for (let seq = 1; seq <= frames; seq += 1) {
    recording.take({ ...frame(seq), offset: offsetOf(seq), bytes: bytesFor(seq) });
    await spool.flush(never);
  }
}

async function temporary(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), "spool-test-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
