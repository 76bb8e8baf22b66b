import * as z from "zod";
import { canonicalJson } from "../kit/canonical-json.ts";
import { isSignedBy, PUBLIC_KEY_PATTERN, SIGNATURE_PATTERN } from "../kit/signing.ts";
import { RunId } from "./ids.ts";

/** An Ed25519 public key: `ed25519:` and 32 bytes in base64url. */
export const PublicKey = z.string().regex(PUBLIC_KEY_PATTERN).describe("Ed25519 public key");
/** An Ed25519 signature: 64 bytes in base64url. */
export const Signature = z.string().regex(SIGNATURE_PATTERN).describe("Ed25519 signature");

/** What the manager says it durably has of a run's audit or recording. */
export const Countersigned = z.strictObject({
  context: z.enum(["audit", "recording"]),
  run: RunId,
  epoch: z.int().nonnegative(),
  at: z
    .int()
    .nonnegative()
    .describe("audit: sequence number of the head; recording: length in bytes"),
  hash: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .describe("SHA-256; audit: of the head's line; recording: of the bytes so far"),
  time: z.iso.datetime().describe("by the manager's clock"),
});
export type Countersigned = z.infer<typeof Countersigned>;

/** A statement of the manager with its signature. It proves that these bytes were there at that time, and in this order. */
export const Countersignature = Countersigned.extend({ key: PublicKey, signature: Signature });
export type Countersignature = z.infer<typeof Countersignature>;

/** The bytes that the manager signs, under the context `countersignature/CONTEXT`. */
export function countersignedBytes(statement: Countersigned): Buffer {
  const { context, run, epoch, at, hash, time } = statement;
  return Buffer.from(canonicalJson({ context, run, epoch, at, hash, time }));
}

/** True when the manager whose key this is made the statement. Compare its fields with what you have; the signature says only who. */
export function isCountersigned(given: Countersignature, managerKey: string): boolean {
  return (
    given.key === managerKey &&
    isSignedBy(
      managerKey,
      `countersignature/${given.context}`,
      countersignedBytes(given),
      given.signature,
    )
  );
}
