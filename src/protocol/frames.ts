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
const HEAD = 4 + 1 + 8 + 8;
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
    .describe("the spool is full and `recording.whenFull` is terminate: end, and send the exit"),
  z
    .strictObject({ kind: z.literal("sealed") })
    .describe("the exit frame is durable; the connection may close"),
]);
export type RecorderReply = z.infer<typeof RecorderReply>;

/** Thrown by `FrameReader` for bytes that are not frames. */
export class BadFrameError extends Error {
  readonly code = "bad_frame";
}

/** Encodes one frame. The payload bytes of output and input are copied. */
export function encodeFrame(frame: Frame): Buffer {
  if (isBytesFrame(frame)) {
    const head = frameHead(frame, 8 + frame.bytes.length);
    const offset = Buffer.alloc(8);
    offset.writeBigUInt64LE(BigInt(frame.offset));
    return Buffer.concat([head, offset, frame.bytes]);
  }
  const payload = Buffer.from(JSON.stringify(payloadOf(frame)));
  return Buffer.concat([frameHead(frame, payload.length), payload]);
}

/** Turns a byte stream into frames, whatever the split. Throws `BadFrameError` on garbage and on oversized frames. */
export class FrameReader {
  #held: Buffer = Buffer.alloc(0);

  /** Frames that are complete with these bytes; their `bytes` are views of the input where possible. */
  *push(chunk: Buffer): Generator<Frame> {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    let at = 0;
    while (this.#held.length - at >= 4) {
      const length = this.#held.readUInt32LE(at);
      if (length < HEAD - 4 || length > MAX_FRAME_BYTES)
        throw new BadFrameError(
          `Frame of ${length} bytes; expected ${HEAD - 4} to ${MAX_FRAME_BYTES}`,
        );
      if (this.#held.length - at < 4 + length) break;
      yield decodeFrame(this.#held.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    this.#held = this.#held.subarray(at);
  }
}

function frameHead(frame: Frame, payloadLength: number): Buffer {
  const head = Buffer.alloc(HEAD);
  head.writeUInt32LE(HEAD - 4 + payloadLength, 0);
  head.writeUInt8(FrameType[frame.type], 4);
  head.writeBigUInt64LE(BigInt(frame.seq), 5);
  head.writeBigUInt64LE(BigInt(frame.timeUs), 13);
  return head;
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
