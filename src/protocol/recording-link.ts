import { crc32 } from "node:zlib";
import * as z from "zod";
import { SignedCheckpoint } from "./recording-proof.ts";
import { ProtocolVersion } from "./version.ts";

/**
 * Recorder to manager, WebSocket `/v1/recordings/{session}`, `Authorization: Bearer <recorder token>`.
 *
 * Text messages are these JSON documents. Binary messages are appends: u64 offset, u32 CRC-32 of the bytes (both little
 * endian), then the bytes; taken only when the CRC is right and the offset equals what the manager has committed. The manager answers with `committed` after fdatasync, and says
 * it again every 5 s when idle. A message that was sent is not delivered; only `committed` counts.
 */
export const RecorderMessage = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("hello"),
    protocol: ProtocolVersion,
    epoch: z.int().nonnegative(),
    bytes: z.int().nonnegative().describe("length of the spool"),
  }),
  SignedCheckpoint.extend({ kind: z.literal("checkpoint") }).describe(
    "sent when all bytes of it are sent, else close code 4400; the manager answers with `proven`, and a wrong one costs the proof only",
  ),
  z.strictObject({
    kind: z.literal("end"),
    bytes: z.int().nonnegative(),
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
  }),
]);
export type RecorderMessage = z.infer<typeof RecorderMessage>;

export const RecordingReply = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("committed"), bytes: z.int().nonnegative() }),
  z
    .strictObject({ kind: z.literal("proven"), next: z.int().nonnegative() })
    .describe("checkpoints below `next` are countersigned; said at the start and after each"),
  z
    .strictObject({ kind: z.literal("retry_after"), ms: z.int().nonnegative().max(60_000) })
    .describe(
      "instead of the first `committed`, then close code 4429: too many catch up; come back at a random moment within `ms`",
    ),
  z.strictObject({ kind: z.literal("verified"), bytes: z.int().nonnegative(), sha256: z.string() }),
  z.strictObject({ kind: z.literal("mismatch"), bytes: z.int().nonnegative(), sha256: z.string() }),
]);
export type RecordingReply = z.infer<typeof RecordingReply>;

/** WebSocket close codes of the manager; 1000 is a plain end. The reason is a short sentence. */
export const CloseCode = {
  badMessage: 4400,
  unauthorized: 4401,
  notFound: 4404,
  fenced: 4409,
  tooLarge: 4413,
  protocolMismatch: 4426,
  busy: 4429,
  unavailable: 4503,
} as const;

/** At most this many bytes in one append, and this many unacknowledged in flight. */
export const MAX_APPEND_BYTES = 256 * 1024;
export const APPEND_WINDOW_BYTES = 1024 * 1024;

/** Bytes of an append before its content. */
export const APPEND_HEAD_BYTES = 12;

/**
 * Writes the head of an append into the first bytes of `message`, whose content is in place already. The CRC finds what a broken path
 * made of it (a piece that came twice, or not at all): committed bytes are never taken back.
 */
export function writeAppendHead(message: Buffer, offset: number): void {
  message.writeBigUInt64LE(BigInt(offset), 0);
  message.writeUInt32LE(crc32(message.subarray(APPEND_HEAD_BYTES)), 8);
}

export function encodeAppend(offset: number, bytes: Buffer): Buffer {
  const message = Buffer.allocUnsafe(APPEND_HEAD_BYTES + bytes.length);
  bytes.copy(message, APPEND_HEAD_BYTES);
  writeAppendHead(message, offset);
  return message;
}

/** Null when the message is no append, or not the one that was sent. */
export function decodeAppend(message: Buffer): { offset: number; bytes: Buffer } | null {
  if (message.length < APPEND_HEAD_BYTES) return null;
  const bytes = message.subarray(APPEND_HEAD_BYTES);
  if (message.readUInt32LE(8) !== crc32(bytes)) return null;
  return { offset: Number(message.readBigUInt64LE(0)), bytes };
}
