import assert from "node:assert/strict";
import { mkdtemp, open, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { silentLog } from "../../src/kit/log.ts";
import { createSigningKey } from "../../src/kit/signing.ts";
import { verifyAsciicast } from "../../src/protocol/asciicast-verify.ts";
import { rawBytesOf } from "../../src/protocol/asciicast.ts";
import { openCheckpoints } from "../../src/recorder/checkpoints.ts";
import { Recording } from "../../src/recorder/recording.ts";
import { Redaction } from "../../src/recorder/redaction.ts";
import { shipSpool } from "../../src/recorder/ship.ts";
import { openSpool } from "../../src/recorder/spool.ts";
import { FailingFile } from "./helpers/failing-file.ts";
import { aRun } from "./helpers/run-spec.ts";
import { SmallManager } from "./helpers/small-manager.ts";

const never = new AbortController().signal;
const header = { cols: 80, rows: 24, timestamp: 1, title: "t", term: "xterm-256color" };
const FRAMES = 12;
/** Opening syncs once; each frame, the first with the header, and the exit are a batch of a write and a sync. */
const OPERATIONS = 1 + 2 * (FRAMES + 1);

suite("a disk that fails once", () => {
  for (const [code, half] of [
    ["ENOSPC", false],
    ["ENOSPC", true],
    ["EDQUOT", false],
    ["EIO", false],
    ["EIO", true],
    ["EROFS", false],
    ["EMFILE", false],
  ] as const) {
    const how = `${code}${half ? ", after half of the bytes" : ""}`;
    test(`${how}, at each write and each sync in turn: what was acknowledged is there, and all of it in the end`, async () => {
      const at = Array.from({ length: OPERATIONS }, (_, index) => index);
      await Promise.all(at.map(async (failAt) => await recordOver(failAt, code, half)));
    });
  }
});

suite("a disk that cannot be read", () => {
  test("is told from a manager that is away: shipping ends, and the spool has failed", async () => {
    await using manager = await new SmallManager().listen();
    await using run = await aRun({ managerUrl: manager.url });
    const unreadable = async (path: string, flags: number, mode: number): Promise<FileHandle> => {
      const file = await open(path, flags, mode);
      const read = async (): Promise<never> =>
        await Promise.reject(Object.assign(new Error("EIO: made for the test"), { code: "EIO" }));
      Object.defineProperty(file, "read", { value: read });
      return file;
    };
    await using spool = await openSpool({ path: run.spoolPath, log: silentLog, open: unreadable });
    const redaction = new Redaction([]);
    using recording = new Recording(spool, { header, recordInput: false, redaction });
    await spool.flush(never);
    const { spec, boot } = run;
    const key = createSigningKey();
    const session = spec.run;
    await using checkpoints = await openCheckpoints(
      { spec, log: silentLog },
      { session, spool, recording, redaction, key },
    );
    const target = { manager: spec.manager, session, token: boot.recorderToken, epoch: spec.epoch };

    await assert.rejects(
      shipSpool(
        { ...target, spool, checkpoints, sealed: { done: false }, log: silentLog },
        AbortSignal.timeout(5000),
      ),
      { code: "spool_failed" },
    );

    assert.equal(spool.failure?.code, "spool_failed");
  });
});

/** Records a session whose disk fails once; when the recorder ends for it, another one takes over, as the supervisor sees to. */
async function recordOver(failAt: number, code: string, half: boolean): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "failing-disk-"));
  const path = join(dir, "run", "recording.cast");
  const disk = new FailingFile(failAt, code, half);
  const where = `${code} at operation ${failAt}`;
  try {
    let acknowledged = 0;
    let lives = 0;
    for (let ended = false; !ended && lives < 4; lives += 1) {
      try {
        await using spool = await openSpool({ path, log: silentLog, open: disk.open });
        using recording = new Recording(spool, {
          header,
          recordInput: false,
          redaction: new Redaction([]),
        });
        assert.ok(recording.durable.seq >= acknowledged, `${where}: acknowledged and not there`);
        for (let seq = recording.durable.seq + 1; seq <= FRAMES + 1; seq += 1) {
          recording.take(frame(seq));
          await spool.flush(never).finally(() => (acknowledged = recording.durable.seq));
        }
        ended = recording.durable.ended;
      } catch (error) {
        assert.equal((error as { code?: string }).code, "spool_failed", where);
      }
    }
    assert.ok(disk.count > failAt, `${where} never came`);
    assert.ok(lives <= 2, `${where}: one failure cost ${lives} recorders`);
    assert.deepEqual((await verifyAsciicast(path)).problems, [], where);
    const raw = Buffer.concat(await Array.fromAsync(rawBytesOf(path)));
    const given = Array.from({ length: FRAMES }, (_, index) => bytesOf(index + 1));
    assert.deepEqual(raw, Buffer.concat(given), where);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

function bytesOf(seq: number): Buffer {
  // Whole characters, and bytes that are none.
  return Buffer.concat([Buffer.from(`frame ${seq} é\r\n`), Buffer.from([0xff, 0x00, 0x41])]);
}

function frame(seq: number): Parameters<Recording["take"]>[0] {
  if (seq > FRAMES) return { type: "exit", seq, timeUs: seq * 1000, status: 0 };
  let offset = 0;
  for (let before = 1; before < seq; before += 1) offset += bytesOf(before).length;
  return { type: "output", seq, timeUs: seq * 1000, offset, bytes: bytesOf(seq) };
}
