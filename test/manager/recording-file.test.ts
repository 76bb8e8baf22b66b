import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, mkdtempDisposable, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { RecordingFile } from "../../src/manager/recording-file.ts";

const HEADER = '{"version":3,"term":{"cols":1,"rows":1}}\n';

suite("RecordingFile", () => {
  test("gives the digest of every beginning of it, before and after it is durable and after a restart", async () => {
    const directory = await mkdtemp(join(tmpdir(), "recording-file-"));
    try {
      const path = join(directory, "recording.cast");
      const bytes = Buffer.from(`${HEADER}#` + randomBytes(1_500_000).toString("hex"));
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

  for (const [what, text] of [
    ["a first line that is no header", '{"version":3}\n'],
    ["a header of version 2", '{"version":2,"width":80,"height":24}\n'],
    ["a header of 0x0", '{"version":3,"term":{"cols":0,"rows":0}}\n'],
    ["a header of -1x24", '{"version":3,"term":{"cols":-1,"rows":24}}\n'],
    ["a header that never ends", `{"version":3,"x":"${"x".repeat(70_000)}`],
    ["no header at all", '[0.1, "o", "x"]\n'],
    ["bytes of no meaning", "\xff\x00\x12garbage"],
    ["a line of no meaning", `${HEADER}garbage`],
    ["a time that goes backwards", `${HEADER}[0.5, "o", "x"]\n[-0.001, "o", "y"]\n`],
    ["a time that is none", `${HEADER}["o", "x"]\n`],
    ["a time of years", `${HEADER}[123456789.5, "o", "x"]\n`],
    ["a time with an exponent", `${HEADER}[1e30, "o", "x"]\n`],
  ] as const)
    test(`takes nothing of an append with ${what}, wherever it is cut, and goes on with what is right`, async () => {
      await using place = await mkdtempDisposable(join(tmpdir(), "recording-file-"));
      const bytes = Buffer.from(text, "latin1");
      const good = Buffer.from(`${HEADER}[0.500, "o", "x"]\n`);
      for (const cut of cutsOf(bytes.length)) {
        const path = join(place.path, `${cut}.cast`);
        await using file = await RecordingFile.open(path);
        await assert.rejects(
          async () => {
            await file.append(0, bytes.subarray(0, cut));
            await file.append(file.received, bytes.subarray(file.received));
          },
          { code: "bad_message", message: /^Expected .*, got another at byte \d+$/ },
        );
        await file.flushed();

        const same = good.findIndex((byte, index) => byte !== bytes[index]);
        const { received } = file;
        assert.ok(received <= cut);
        // What was taken stays; a recording that began as it should goes on.
        if (received <= same) {
          assert.equal(await file.append(received, good.subarray(received)), "taken");
          await file.flushed();
          assert.equal(await readFile(path, "utf8"), good.toString());
        }
      }
    });

  test("takes a recording cut at any byte, by files that are opened anew at each, and nothing wrong after it", async () => {
    await using place = await mkdtempDisposable(join(tmpdir(), "recording-file-"));
    const bytes = Buffer.from(
      `${HEADER}# note\n\n[0, "o", "[-1"]\n#raw AAAA\n[31622400.250, "o", "x"]\n`,
    );
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const path = join(place.path, `${cut}.cast`);
      {
        await using file = await RecordingFile.open(path);
        await file.append(0, bytes.subarray(0, cut));
      }
      await using file = await RecordingFile.open(path);
      if (cut < bytes.length) assert.equal(await file.append(cut, bytes.subarray(cut)), "taken");
      await assert.rejects(file.append(bytes.length, Buffer.from("[-1")), { code: "bad_message" });
      await file.flushed();

      assert.ok((await readFile(path)).equals(bytes));
    }
  });
});

/** Each place in a short text, some in a long one. */
function cutsOf(length: number): number[] {
  return Array.from({ length: Math.min(length, 100) }, (_, cut) => cut).concat(
    length > 100 ? [length - 1] : [],
  );
}
