import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";
import { atEnd } from "../helpers/at-end.ts";
import { createSigningKey } from "../../src/kit/signing.ts";
import { RecordingFile } from "../../src/manager/recording-file.ts";
import { RecordingProofs } from "../../src/manager/recording-proofs.ts";
import {
  FIRST_PREVIOUS,
  hashOfCheckpoint,
  signCheckpoint,
} from "../../src/protocol/recording-proof.ts";
import type { SignedCheckpoint } from "../../src/protocol/recording-proof.ts";

const key = createSigningKey();
const TEXT = Buffer.from('{"version":3,"term":{"cols":80,"rows":24}}\n');

suite("proofs at the manager", () => {
  test("are taken in the order they came, also when the bytes of an earlier one have to be read again", async (t) => {
    const { proofs, recording } = await openBoth(t);
    await recording.append(0, TEXT);
    await recording.flushed();
    const first = checkpoint(5, null);
    const second = checkpoint(TEXT.length, first);

    const taken = await Promise.all([
      proofs.take(first, recording),
      proofs.take(second, recording),
    ]);

    assert.deepEqual(taken, [1, 2]);
  });

  test("of another session of the run are refused", async (t) => {
    const { proofs, recording } = await openBoth(t);
    await recording.append(0, TEXT);
    await recording.flushed();

    const other = checkpoint(TEXT.length, null, "another-session");

    await assert.rejects(proofs.take(other, recording), /of another session/);
  });

  test("wait for no bytes that did not come, and none is looked at for another's signature", async (t) => {
    const { proofs, recording } = await openBoth(t);
    const early = checkpoint(TEXT.length, null);
    const forged = { ...early, key: createSigningKey().publicKey };

    await assert.rejects(proofs.take(early, recording), /at most the 0 bytes that are here/);
    await assert.rejects(proofs.take(forged, recording), /signed by another key/);
    await proofs.settled();

    await recording.append(0, TEXT);
    assert.equal(await proofs.take(early, recording), 1);
  });
});

function checkpoint(
  bytes: number,
  before: SignedCheckpoint | null,
  session = "run-1",
): SignedCheckpoint {
  return signCheckpoint(
    {
      session,
      epoch: 1,
      n: before === null ? 0 : before.checkpoint.n + 1,
      bytes,
      sha256: createHash("sha256").update(TEXT.subarray(0, bytes)).digest("hex"),
      previous: before === null ? FIRST_PREVIOUS : hashOfCheckpoint(before.checkpoint),
      set: 1,
      masked: 0,
      gaps: 0,
      end: false,
      time: new Date(0).toISOString(),
    },
    key,
  );
}

async function openBoth(
  t: TestContext,
): Promise<{ proofs: RecordingProofs; recording: RecordingFile }> {
  const dir = await mkdtemp(join(tmpdir(), "proofs-"));
  const recording = await RecordingFile.open(join(dir, "recording.cast"));
  const proofs = await RecordingProofs.open({
    path: join(dir, "recording.proofs.jsonl"),
    session: "run-1",
    recorderKey: key.publicKey,
    countersign: ({ epoch, at, hash }) => ({
      context: "recording",
      run: "run-1",
      epoch,
      at,
      hash,
      time: new Date(0).toISOString(),
      key: key.publicKey,
      signature: "A".repeat(86),
    }),
  });
  atEnd(t, async () => {
    await proofs[Symbol.asyncDispose]();
    await recording[Symbol.asyncDispose]().catch(() => undefined);
    await rm(dir, { recursive: true, force: true });
  });
  return { proofs, recording };
}
