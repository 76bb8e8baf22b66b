import assert from "node:assert/strict";
import { createReadStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { suite, test } from "node:test";
import { writeMixedOutput } from "../../bench/mixed-output.ts";
import { digestOf } from "../../bench/recorded-bytes.ts";
import { recordByAgentkube } from "../../bench/recorded-run.ts";

const BYTES = 200_000_000;

suite("200 MB of mixed and binary output", () => {
  test("come out of recording cat --raw as they went in, byte for byte", async (t) => {
    const dir = mkdtempSync(path.join(tmpdir(), "akbytes-"));
    try {
      const file = path.join(dir, "mixed");
      writeMixedOutput(file, BYTES);

      const { recorded, elapsedMs } = await recordByAgentkube(file);

      t.diagnostic(`${Math.round(BYTES / elapsedMs / 1000)} MB/s until verified`);
      assert.deepEqual(recorded, await digestOf(createReadStream(file)));
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
