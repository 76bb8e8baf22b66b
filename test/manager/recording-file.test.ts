import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { RecordingFile } from "../../src/manager/recording-file.ts";

suite("RecordingFile", () => {
  test("gives the digest of every beginning of it, before and after it is durable and after a restart", async () => {
    const directory = await mkdtemp(join(tmpdir(), "recording-file-"));
    try {
      const path = join(directory, "recording.cast");
      const bytes = randomBytes(3_000_000);
      const ends = [0, 1, 99_999, 262_144, 700_000, 1_500_001, 2_999_999, bytes.length];
      const expected = ends.map((end) =>
        createHash("sha256").update(bytes.subarray(0, end)).digest("hex"),
      );
      {
        await using file = await RecordingFile.open(path);
        await assert.rejects(file.digestAt(1), /Expected at most the 0 bytes/);
        // Asked for when the bytes were taken and are not yet durable, and again later.
        const early = [file.digestAt(0)];
        for (let at = 0; at < bytes.length; at += 100_000) {
          assert.equal(await file.append(at, bytes.subarray(at, at + 100_000)), "taken");
          for (const end of ends)
            if (end > at && end <= at + 100_000) early.push(file.digestAt(end));
          if (at % 300_000 === 0) await file.flushed();
        }
        await file.flushed();

        assert.deepEqual(await Promise.all(early), expected);
        assert.deepEqual(await Promise.all(ends.map((end) => file.digestAt(end))), expected);
      }
      await using again = await RecordingFile.open(path);

      assert.deepEqual(await Promise.all(ends.map((end) => again.digestAt(end))), expected);
      assert.ok((await readFile(path)).equals(bytes));
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
