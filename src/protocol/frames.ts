import * as z from "zod";

/**
 * Agentlet to recorder, after the proof: binary frames. All integers little endian.
 *
 *   u32 length of what follows · u8 type · u64 seq · u64 monotonic microseconds · payload
 *
 * Output and input payloads begin with a u64: the offset of their first byte in the whole output (input) of the session,
 * so that a producer that resends and a recorder that restarts agree byte by byte. Other payloads are JSON.
 * Sequence numbers start at 1 and rise by one. The recorder answers with JSON lines: `RecorderReply`.
 */
export const FrameType = { output: 1, input: 2, resize: 3, marker: 4, exit: 5 } as const;

/** Larger frames are a fault of the producer and close the connection. */
export const MAX_FRAME_BYTES = 1024 * 1024;
const LENGTH = 4;
const HEAD = LENGTH + 1 + 8 + 8;
const OFFSET = 8;
/** A session is never this old; a later time would move all that follows it. */
const MAX_TIME_US = 366 * 24 * 3600 * 1_000_000;

export const ResizePayload = z.strictObject({
  cols: z.int().min(1).max(1000),
  rows: z.int().min(1).max(1000),
});
export const MarkerPayload = z.strictObject({ label: z.string().max(4096) });
/** One JSON line of the tool-runner on the marker socket, after the proof. `timeUs` as in frames; without it: now. */
export const MarkerLine = MarkerPayload.extend({ timeUs: z.int().nonnegative().optional() });
/** `status` is the exit code, or 128+n for a signal, as asciicast wants it. */
export const ExitPayload = z.strictObject({ status: z.int().min(0).max(255) });

interface FrameHead {
  seq: number;
  timeUs: number;
}
export type BytesFrame = FrameHead & { type: "output" | "input"; offset: number; bytes: Buffer };
export type FactFrame =
  | (FrameHead & { type: "resize"; cols: number; rows: number })
  | (FrameHead & { type: "marker"; label: string })
  | (FrameHead & { type: "exit"; status: number });
export type Frame = BytesFrame | FactFrame;

/** First reply after the proof, and one after each durable write. */
export const RecorderReply = z.discriminatedUnion("kind", [
  z
    .strictObject({
      kind: z.literal("welcome"),
      seq: z.int().nonnegative(),
      outputOffset: z.int().nonnegative(),
      inputOffset: z.int().nonnegative(),
    })
    .describe(
      "seq: the last frame wholly in the spool; offsets: bytes of output and input in the spool",
    ),
  z
    .strictObject({
      kind: z.literal("ack"),
      seq: z.int().nonnegative(),
      held: z.boolean().optional(),
    })
    .describe(
      "seq: the last frame wholly in the spool; held: those after it only wait for what follows them, since a secret may begin there",
    ),
  z.strictObject({
    kind: z.literal("refused"),
    code: z.enum(["producer_present", "spool_full", "bad_frame", "protocol_mismatch"]),
    message: z.string(),
  }),
  z
    .strictObject({ kind: z.literal("full") })
    .describe(
      "the spool is full and the run cannot go on (its quota, or `recording.whenFull` is terminate): end, and send the exit",
    ),
  z
    .strictObject({ kind: z.literal("sealed") })
    .describe("the exit frame is durable; the connection may close"),
]);
export type RecorderReply = z.infer<typeof RecorderReply>;

/** Thrown by `FrameReader` for bytes that are not frames. */
export class BadFrameError extends Error {
  readonly code = "bad_frame";
}

const allocate = (bytes: number): Buffer => Buffer.allocUnsafe(bytes);

/** Encodes one frame into memory that `room` gives. The payload bytes of output and input are copied. */
export function encodeFrame(frame: Frame, room: (bytes: number) => Buffer = allocate): Buffer {
  if (!isBytesFrame(frame)) {
    const payload = Buffer.from(JSON.stringify(payloadOf(frame)));
    const data = headed(frame, payload.length, room);
    payload.copy(data, HEAD);
    return data;
  }
  const data = headed(frame, OFFSET + frame.bytes.length, room);
  data.writeBigUInt64LE(BigInt(frame.offset), HEAD);
  frame.bytes.copy(data, HEAD + OFFSET);
  return data;
}

/** Turns a byte stream into frames, whatever the split. Throws `BadFrameError` on garbage and on oversized frames. */
export class FrameReader {
  /** the frame that was begun; its memory is used again */
  #held: Buffer = Buffer.alloc(0);
  #length = 0;

  /** Frames that are complete with these bytes; their `bytes` are views, good until the next call. */
  *push(chunk: Buffer): Generator<Frame> {
    let at = 0;
    if (this.#length > 0) {
      // Its first bytes say how much it lacks.
      at = this.#hold(chunk, at, LENGTH);
      if (this.#length < LENGTH) return;
      const end = LENGTH + frameLength(this.#held, 0);
      at = this.#hold(chunk, at, end);
      if (this.#length < end) return;
      this.#length = 0;
      yield decodeFrame(this.#held.subarray(LENGTH, end));
    }
    while (chunk.length - at >= LENGTH) {
      const end = at + LENGTH + frameLength(chunk, at);
      if (end > chunk.length) break;
      yield decodeFrame(chunk.subarray(at + LENGTH, end));
      at = end;
    }
    this.#hold(chunk, at, LENGTH + MAX_FRAME_BYTES);
  }

  /** Keeps bytes from `at` on until it has `length` of the frame; gives the position after them. */
  #hold(chunk: Buffer, at: number, length: number): number {
    const count = Math.max(0, Math.min(length - this.#length, chunk.length - at));
    const needed = this.#length + count;
    if (needed > this.#held.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#held.length));
      this.#held.copy(larger, 0, 0, this.#length);
      this.#held = larger;
    }
    chunk.copy(this.#held, this.#length, at, at + count);
    this.#length = needed;
    return at + count;
  }
}

function frameLength(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32LE(at);
  if (length >= HEAD - LENGTH && length <= MAX_FRAME_BYTES) return length;
  throw new BadFrameError(
    `Frame of ${length} bytes; expected ${HEAD - LENGTH} to ${MAX_FRAME_BYTES}`,
  );
}

/** Memory for a frame, its head written. */
function headed(frame: Frame, payloadLength: number, room: (bytes: number) => Buffer): Buffer {
  const data = room(HEAD + payloadLength);
  data.writeUInt32LE(HEAD - LENGTH + payloadLength, 0);
  data.writeUInt8(FrameType[frame.type], 4);
  data.writeBigUInt64LE(BigInt(frame.seq), 5);
  data.writeBigUInt64LE(BigInt(frame.timeUs), 13);
  return data;
}

export function isBytesFrame(frame: Frame): frame is BytesFrame {
  return frame.type === "output" || frame.type === "input";
}

function payloadOf(frame: FactFrame): object {
  if (frame.type === "resize") return { cols: frame.cols, rows: frame.rows };
  if (frame.type === "marker") return { label: frame.label };
  return { status: frame.status };
}

function decodeFrame(body: Buffer): Frame {
  const type = body.readUInt8(0);
  const seq = safeInteger(body.readBigUInt64LE(1), "seq");
  const timeUs = safeInteger(body.readBigUInt64LE(9), "time");
  if (timeUs > MAX_TIME_US) throw new BadFrameError("Frame time is out of range");
  const payload = body.subarray(17);
  switch (type) {
    case FrameType.output:
    case FrameType.input: {
      if (payload.length < 8) throw new BadFrameError("Output frame without an offset");
      const offset = safeInteger(payload.readBigUInt64LE(0), "offset");
      return {
        type: type === FrameType.output ? "output" : "input",
        seq,
        timeUs,
        offset,
        bytes: payload.subarray(8),
      };
    }
    case FrameType.resize:
      return { type: "resize", seq, timeUs, ...parsePayload(ResizePayload, payload) };
    case FrameType.marker:
      return { type: "marker", seq, timeUs, ...parsePayload(MarkerPayload, payload) };
    case FrameType.exit:
      return { type: "exit", seq, timeUs, ...parsePayload(ExitPayload, payload) };
    default:
      throw new BadFrameError(`Unknown frame type ${type}`);
  }
}

function parsePayload<T>(schema: z.ZodType<T>, payload: Buffer): T {
  let value: unknown;
  try {
    value = JSON.parse(payload.toString("utf8"));
  } catch (error) {
    throw new BadFrameError("Frame payload is not JSON", { cause: error });
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success)
    throw new BadFrameError(`Frame payload is not valid: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

function safeInteger(value: bigint, name: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw new BadFrameError(`Frame ${name} is out of range`);
  return Number(value);
}
