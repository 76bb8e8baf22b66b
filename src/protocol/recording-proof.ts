import { createHash } from "node:crypto";
import * as z from "zod";
import { canonicalJson } from "../kit/canonical-json.ts";
import { isSignedBy } from "../kit/signing.ts";
import type { SigningKey } from "../kit/signing.ts";
import { Countersignature, PublicKey, Signature } from "./countersignature.ts";

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);

/** What a recorder says, every 10 s or 1 MiB, that its recording is up to a point. */
export const Checkpoint = z.strictObject({
  session: z.string().min(1).max(200),
  epoch: z.int().nonnegative(),
  n: z.int().nonnegative().describe("0 for the first of a session, then one more each"),
  bytes: z.int().nonnegative().describe("length of the recording at this point"),
  sha256: Sha256.describe("of these bytes"),
  previous: Sha256.describe("SHA-256 of the checkpoint before; zeros for the first"),
  set: z.int().positive().describe("redaction set that counts at this point"),
  masked: z.int().nonnegative().describe("bytes masked so far"),
  gaps: z.int().nonnegative().describe("bytes that the terminal gave and that were not recorded"),
  end: z.boolean().describe("nothing follows"),
  time: z.iso.datetime().describe("by the recorder's clock"),
});
export type Checkpoint = z.infer<typeof Checkpoint>;

export const SignedCheckpoint = z.strictObject({
  checkpoint: Checkpoint,
  key: PublicKey.describe("the recorder's, one for each run"),
  signature: Signature,
});
export type SignedCheckpoint = z.infer<typeof SignedCheckpoint>;

/** One line of `recording.proofs.jsonl`: a checkpoint with what the manager says to it, or the manager's own end. */
export const ProofLine = z.union([
  SignedCheckpoint.extend({ countersignature: Countersignature.nullable() }),
  z
    .strictObject({ closed: z.string().max(4096), countersignature: Countersignature })
    .describe("the recorder never ended it: the manager wrote the end, and why"),
]);
export type ProofLine = z.infer<typeof ProofLine>;

const CONTEXT = "recording/checkpoint";
export const FIRST_PREVIOUS = "0".repeat(64);

/** What the next checkpoint names as `previous`. */
export function hashOfCheckpoint(checkpoint: Checkpoint): string {
  return createHash("sha256").update(canonicalJson(checkpoint)).digest("hex");
}

export function signCheckpoint(checkpoint: Checkpoint, key: SigningKey): SignedCheckpoint {
  const signature = key.sign(CONTEXT, Buffer.from(canonicalJson(checkpoint)));
  return { checkpoint, key: key.publicKey, signature };
}

export function isCheckpointSigned({ checkpoint, key, signature }: SignedCheckpoint): boolean {
  return isSignedBy(key, CONTEXT, Buffer.from(canonicalJson(checkpoint)), signature);
}

/** Why a checkpoint does not follow the one before it; null when it does. */
export function problemOfChain(
  next: SignedCheckpoint,
  last: SignedCheckpoint | null,
): string | null {
  const { n, previous, bytes, session } = next.checkpoint;
  const expected = last === null ? 0 : last.checkpoint.n + 1;
  if (n !== expected) return `expected checkpoint ${expected}, got ${n}`;
  const before = last === null ? FIRST_PREVIOUS : hashOfCheckpoint(last.checkpoint);
  if (previous !== before) return `checkpoint ${n} does not follow the one before it`;
  if (last === null) return null;
  if (bytes < last.checkpoint.bytes)
    return `checkpoint ${n} is of fewer bytes than the one before it`;
  if (session !== last.checkpoint.session) return `checkpoint ${n} is of another session`;
  if (next.key !== last.key) return `checkpoint ${n} is signed by another key`;
  if (last.checkpoint.end) return `checkpoint ${n} comes after the end`;
  return null;
}
