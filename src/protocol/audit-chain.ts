import { hash } from "node:crypto";
import * as z from "zod";
import { canonicalJson } from "../kit/canonical-json.ts";
import { parseJson } from "../kit/json-lines.ts";
import { PlatformError } from "../kit/platform-error.ts";
import { isSignedBy, type SigningKey } from "../kit/signing.ts";
import { AuditRecord } from "./audit.ts";
import { Countersignature } from "./countersignature.ts";
import type { RunId } from "./ids.ts";

/**
 * The audit of a run is a chain of lines: canonical JSON of `{seq, epoch, prev, …record}`, `seq` from 1 without gaps, `prev` the
 * SHA-256 of the line before it. Who holds one hash knows every line up to it. A new life of the tool-runner is a new `epoch`, which
 * begins with an `epoch_started` that names the key of its receipts.
 */
export interface ChainedLine {
  seq: number;
  epoch: number;
  prev: string;
  record: AuditRecord;
  /** the line without its newline */
  text: string;
  /** SHA-256 of `text`, hex */
  hash: string;
}

/** The last line that somebody has. Of an empty chain: 0 and `firstPrev`. */
export const ChainHead = z.strictObject({
  seq: z.int().nonnegative(),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
});
export type ChainHead = z.infer<typeof ChainHead>;

/**
 * The manager's answer: every record up to `seq` is on disk. The first one, to hello, says what it has; the runner goes on from
 * there, and must have the same line of that number itself.
 */
export const AuditAck = z.strictObject({
  kind: z.literal("ack"),
  seq: z.int().nonnegative(),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  countersignature: Countersignature.nullable().describe("null for an empty chain"),
});
export type AuditAck = z.infer<typeof AuditAck>;

const Link = z.looseObject({
  seq: z.int().positive(),
  epoch: z.int().positive(),
  prev: z.string().regex(/^[0-9a-f]{64}$/),
});

/** What stands in for the hash of a line before the first: a chain of one run cannot be passed off as another's. */
export function firstPrev(run: RunId): string {
  return hashOf(`agentkube/audit/${run}`);
}

/** SHA-256 of a line's text, hex. */
export function hashOf(text: string | Buffer): string {
  return hash("sha256", text);
}

/** The line of a record whose `epoch` and `prev` are set. */
export function chainLine(seq: number, record: AuditRecord): ChainedLine {
  const { epoch, prev } = record;
  if (epoch === undefined || prev === undefined)
    throw new PlatformError("bad_message", "Expected an audit record with epoch and prev");
  const text = canonicalJson({ seq, ...record });
  return { seq, epoch, prev, record, text, hash: hashOf(text) };
}

/** Reads one line. Throws `PlatformError` `bad_message` for one that is no record, or is spelled in another way. */
export function parseChainLine(text: string): ChainedLine {
  const { seq, ...rest } = parseJson("a line of an audit", Link, text);
  const parsed = AuditRecord.safeParse(rest);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const where = issue?.path.join(".") ?? "";
    throw new PlatformError("bad_message", `Expected an audit record: ${where}: ${issue?.message}`);
  }
  const line = chainLine(seq, parsed.data);
  if (line.text === text) return line;
  throw new PlatformError("bad_message", "The line is not the canonical spelling of its record");
}

/** Signs the records that carry a signature: the beginning of an epoch and the receipt of a call. Others come back unchanged. */
export function sealRecord(seq: number, record: AuditRecord, key: SigningKey): AuditRecord {
  const signed = signedPart(seq, record);
  if (signed === null) return record;
  const signature = key.sign(signed.context, signed.bytes);
  if (record.type === "call" && record.receipt !== undefined)
    return { ...record, receipt: { ...record.receipt, signature } };
  return record.type === "epoch_started" ? { ...record, signature } : record;
}

/** True when the record carries a signature of this key over all of it; false also for a record that carries none. */
export function isSealed({ seq, record }: ChainedLine, key: string): boolean {
  const signed = signedPart(seq, record);
  return (
    signed?.signature !== undefined &&
    isSignedBy(key, signed.context, signed.bytes, signed.signature)
  );
}

/** Everything of the line but the signature itself: its number and `prev` too, so that a receipt holds for one place in one chain. */
function signedPart(
  seq: number,
  record: AuditRecord,
): { context: string; bytes: Buffer; signature: string | undefined } | null {
  if (record.type === "epoch_started") {
    const { signature, ...rest } = record;
    return {
      context: "audit/epoch",
      bytes: Buffer.from(canonicalJson({ seq, ...rest })),
      signature,
    };
  }
  if (record.type !== "call" || record.receipt === undefined) return null;
  const { signature, ...receipt } = record.receipt;
  const bytes = Buffer.from(canonicalJson({ seq, ...record, receipt }));
  return { context: "audit/receipt", bytes, signature };
}
