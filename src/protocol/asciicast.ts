import { isUtf8 } from "node:buffer";
import { createReadStream } from "node:fs";
import * as z from "zod";
import { PlatformError } from "../kit/platform-error.ts";
import { beyondCount, parseEvent } from "./asciicast-event.ts";
import { HeaderLine } from "./asciicast-header.ts";
import { isV1, mayBeginV1, readV1 } from "./asciicast-v1.ts";

/**
 * Reading asciicast v3 (ours, and anybody's), v2 and v1. docs/recording-format.md describes what ours adds in comment lines:
 * `#raw BASE64` before an event whose bytes were not UTF-8, and `#pos JSON` at the end of each durable batch.
 */
export interface CastHeader {
  version: 1 | 2 | 3;
  cols: number;
  rows: number;
  /** the header line as it was parsed, for the fields that only some readers want */
  fields: Record<string, unknown>;
}

export interface CastEvent {
  /** microseconds since the start of the recording, in every version */
  timeUs: number;
  /** `o` output, `i` input, `r` resize, `m` marker, `x` exit; other letters are allowed and mean nothing to us */
  code: string;
  data: string;
  /** the exact bytes when they were not UTF-8; null: `data` encoded as UTF-8 is exact */
  raw: Buffer | null;
}

/** One line of a recording; `line` counts from 1. A `problem` never ends the reading: the lines after it follow. */
export type CastLine =
  | { kind: "header"; line: number; header: CastHeader }
  | { kind: "event"; line: number; event: CastEvent }
  | { kind: "comment"; line: number; text: string }
  | { kind: "problem"; line: number; problem: string };

/** A path, or the bytes of a recording in order. */
export type CastSource = string | AsyncIterable<Buffer>;

/** The bytes of a recording, in pieces. */
export function chunksOf(source: CastSource): AsyncIterable<Buffer> {
  return typeof source === "string"
    ? createReadStream(source, { highWaterMark: 256 * 1024 })
    : source;
}

/** What a `#pos` line holds: how far the recording is wholly written at that point. */
export const CastPosition = z.strictObject({
  seq: z.int().nonnegative().describe("last frame that is wholly in the file"),
  fact: z.int().nonnegative().describe("last frame without bytes (resize, marker, exit) written"),
  out: z.int().nonnegative().describe("bytes of output in the file"),
  in: z.int().nonnegative().describe("bytes of input in the file"),
  ms: z.int().nonnegative().describe("sum of the intervals so far, in `ms`"),
  masked: z
    .int()
    .nonnegative()
    .default(0)
    .describe("bytes of output and input that were masked, each as one `*`"),
  gap: z
    .int()
    .nonnegative()
    .optional()
    .describe("bytes of output that were not recorded; left out while there are none"),
  end: z.boolean().describe("nothing follows: the exit or the interruption is written"),
});
export type CastPosition = z.infer<typeof CastPosition>;

/** What a `#gap` line holds: a piece of output, here in the stream, that was not recorded. */
export const CastGap = z.strictObject({
  bytes: z.int().positive(),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .describe("of these bytes, masked as they would have been written"),
});
export type CastGap = z.infer<typeof CastGap>;

/** Longer lines are a problem and are skipped, so that a reader's memory is bounded. */
export const MAX_LINE_BYTES = 16 * 1024 * 1024;
const COMPRESSED = "File is compressed with";
const PACKERS = [
  ["gzip", "\x1f\x8b"],
  ["zstd", "\x28\xb5\x2f\xfd"],
  ["xz", "\xfd7zXZ"],
  ["bzip2", "BZh"],
] as const;
export const RAW_PREFIX = "#raw ";
export const POSITION_PREFIX = "#pos ";
export const GAP_PREFIX = "#gap ";
export const REDACTION_PREFIX = "#redaction ";

/** Reads a recording line by line in constant memory. Rejects only when the source itself cannot be read. */
export async function* readAsciicast(source: CastSource): AsyncGenerator<CastLine> {
  await using begun = await beginOf(source);
  if (begun.rest === null) {
    const old = readV1(begun.bytes);
    if (old !== null) return yield* old;
  }
  const state = new ReadState();
  let line = 0;
  for await (const piece of linesOf(begun.all())) yield* state.take((line += 1), piece);
  yield* state.end(line);
}

/** A source that was read as far as it may be one document of v1, which can only be read whole. `rest` null: to its end. */
async function beginOf(source: CastSource): Promise<
  {
    bytes: Buffer;
    rest: AsyncIterator<Buffer> | null;
    all(): AsyncGenerator<Buffer>;
  } & AsyncDisposable
> {
  const reader = chunksOf(source)[Symbol.asyncIterator]();
  const held: Buffer[] = [];
  let heldBytes = 0;
  let isFirstLine = true;
  let rest: AsyncIterator<Buffer> | null = reader;
  while (heldBytes <= MAX_LINE_BYTES) {
    const next = await reader.next();
    if (next.done === true) {
      rest = null;
      break;
    }
    // Copied: the source may use its memory again.
    held.push(Buffer.from(next.value));
    heldBytes += next.value.length;
    const end = next.value.indexOf(10);
    if (!isFirstLine || end === -1) continue;
    isFirstLine = false;
    const length = heldBytes - next.value.length + end;
    if (!mayBeginV1(Buffer.concat(held).toString("utf8", 0, length))) break;
  }
  const bytes = Buffer.concat(held);
  return {
    bytes,
    rest,
    async *all() {
      yield bytes;
      for (let next = await rest?.next(); next?.done === false; next = await rest?.next())
        yield next.value;
    },
    [Symbol.asyncDispose]: async () => void (await reader.return?.()),
  };
}

/** Reads a recording that must be right. Throws `recording_damaged` at the first line that is not. */
export async function* readIntact(
  source: CastSource,
): AsyncGenerator<Exclude<CastLine, { kind: "problem" }>> {
  for await (const item of readAsciicast(source)) {
    if (item.kind === "problem") throw damaged(item.line, item.problem);
    yield item;
  }
}

/** The exact bytes that the PTY gave, in order. Throws as `readIntact` does. */
export async function* rawBytesOf(source: CastSource): AsyncGenerator<Buffer> {
  for await (const item of readIntact(source)) {
    if (item.kind === "event" && item.event.code === "o") yield bytesOfEvent(item.event);
  }
}

/** The bytes of an output or input event. */
export function bytesOfEvent(event: CastEvent): Buffer {
  return event.raw ?? Buffer.from(event.data);
}

/** The lines of an asciicast v2 file with the same events, each with its newline. Throws as `readIntact` does. */
export async function* toV2(source: CastSource): AsyncGenerator<string> {
  for await (const item of readIntact(source)) {
    if (item.kind === "header") yield `${JSON.stringify(headerV2(item.header))}\n`;
    if (item.kind === "event") {
      const { timeUs, code, data } = item.event;
      yield `[${timeUs / 1e6}, ${JSON.stringify(code)}, ${JSON.stringify(data)}]\n`;
    }
  }
}

/** The line when a live v3 reader may have it; null for comments and empty lines, which some players choke on. */
export function stripComments(line: string): string | null {
  return line.startsWith("#") || line.trim() === "" ? null : line;
}

/** What was read so far of one recording: its version, its clock, and a `#raw` that waits for its event. */
class ReadState {
  #version: 2 | 3 | null = null;
  #timeUs = 0;
  #raw: { line: number; bytes: Buffer } | null = null;
  /** our own files end every line; a missing newline there is a cut, even when the rest parses */
  #ours = false;
  /** not a text at all: one problem says so, and its lines say nothing */
  #isAlien = false;

  *take(line: number, piece: LinePiece): Generator<CastLine> {
    if (this.#isAlien) return;
    if (piece.bytes === null) {
      yield { kind: "problem", line, problem: `Line is longer than ${MAX_LINE_BYTES} bytes` };
      return;
    }
    const problem = this.#problemOfBytes(line, piece.bytes);
    if (problem !== null) {
      yield { kind: "problem", line, problem };
      if (line === 1) this.#version = 3;
      this.#isAlien = problem.startsWith(COMPRESSED);
      return;
    }
    const text = piece.bytes.toString("utf8");
    if (line === 1) yield this.#header(text, piece);
    else if (text.startsWith("#") && this.#version !== 2) yield* this.#comment(line, text, piece);
    else if (text.trim() !== "") yield* this.#event(line, text, piece);
  }

  *end(lines: number): Generator<CastLine> {
    if (lines === 0) yield { kind: "problem", line: 1, problem: "Expected a header, got nothing" };
    yield* this.#unusedRaw();
  }

  #problemOfBytes(line: number, bytes: Buffer): string | null {
    if (line === 1 && bytes.subarray(0, 3).equals(Buffer.from([0xef, 0xbb, 0xbf])))
      return "File begins with a byte order mark";
    for (const [name, magic] of PACKERS)
      if (line === 1 && bytes.toString("latin1", 0, magic.length) === magic)
        return `${COMPRESSED} ${name}; expected an asciicast as text, unpack it first`;
    return isUtf8(bytes) ? null : "Line is not UTF-8";
  }

  #header(text: string, piece: LinePiece): CastLine {
    // After a bad header the events are still read, as the version that most files have.
    this.#version = 3;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      const isOpen = text.trimStart().startsWith("{") && !text.trimEnd().endsWith("}");
      // Lines that are no lines of their own: one problem says it all.
      this.#isAlien = isOpen && piece.ended;
      let problem = "Expected a header as a JSON object";
      if (isOpen) problem = "Header is cut off";
      if (this.#isAlien) problem += ", or it is a document of asciicast v1 that is cut off";
      return { kind: "problem", line: 1, problem };
    }
    if (isV1(value)) {
      this.#isAlien = true;
      return { kind: "problem", line: 1, problem: "Lines follow a document of asciicast v1" };
    }
    const parsed = HeaderLine.safeParse(value);
    if (!parsed.success) {
      const { path, message } = parsed.error.issues[0] ?? { path: [], message: "not valid" };
      const problem = `Header is not of asciicast v3 or v2: ${path.join(".") || "document"}: ${message}`;
      return { kind: "problem", line: 1, problem };
    }
    const fields = parsed.data;
    this.#version = fields.version;
    if (fields.version === 3 && !piece.ended)
      return { kind: "problem", line: 1, problem: "Header is cut off" };
    const [cols, rows] =
      fields.version === 3 ? [fields.term.cols, fields.term.rows] : [fields.width, fields.height];
    return { kind: "header", line: 1, header: { version: fields.version, cols, rows, fields } };
  }

  *#comment(line: number, text: string, piece: LinePiece): Generator<CastLine> {
    yield* this.#unusedRaw();
    if (text.startsWith(POSITION_PREFIX)) this.#ours = true;
    if (!piece.ended) yield { kind: "problem", line, problem: "Last line is cut off" };
    else yield { kind: "comment", line, text };
    if (!text.startsWith(RAW_PREFIX)) return;
    this.#ours = true;
    const bytes = Buffer.from(text.slice(RAW_PREFIX.length), "base64");
    if (bytes.toString("base64") === text.slice(RAW_PREFIX.length)) this.#raw = { line, bytes };
    else yield { kind: "problem", line, problem: "Expected base64 after #raw" };
  }

  *#event(line: number, text: string, piece: LinePiece): Generator<CastLine> {
    const raw = this.#raw;
    this.#raw = null;
    const parsed = parseEvent(text);
    if (!piece.ended && ("problem" in parsed || this.#ours)) {
      yield { kind: "problem", line, problem: "Last line is cut off" };
      return;
    }
    if ("problem" in parsed) {
      yield { kind: "problem", line, problem: parsed.problem };
      return;
    }
    const timeUs = Math.round(parsed.time * 1e6) + (this.#version === 3 ? this.#timeUs : 0);
    if (!Number.isSafeInteger(timeUs)) {
      yield { kind: "problem", line, problem: beyondCount(parsed.time) };
      return;
    }
    if (timeUs < this.#timeUs) {
      yield { kind: "problem", line, problem: "Time goes backwards" };
      return;
    }
    this.#timeUs = timeUs;
    const { code, data } = parsed;
    if (raw !== null && raw.bytes.toString("utf8") !== data) {
      yield { kind: "problem", line, problem: "Event does not match the #raw line before it" };
      yield { kind: "event", line, event: { timeUs, code, data, raw: null } };
      return;
    }
    yield { kind: "event", line, event: { timeUs, code, data, raw: raw?.bytes ?? null } };
  }

  *#unusedRaw(): Generator<CastLine> {
    if (this.#raw === null) return;
    yield { kind: "problem", line: this.#raw.line, problem: "No event follows the #raw line" };
    this.#raw = null;
  }
}

/** `bytes` null: the line was too long. `ended`: a newline followed. */
interface LinePiece {
  bytes: Buffer | null;
  ended: boolean;
}

async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<LinePiece> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  const take = (last: Buffer, ended: boolean): LinePiece => {
    const bytes = heldBytes + last.length;
    const line =
      bytes > MAX_LINE_BYTES ? null : held.length === 0 ? last : Buffer.concat([...held, last]);
    held = [];
    heldBytes = 0;
    return { bytes: line, ended };
  };
  for await (const chunk of chunks) {
    let from = 0;
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, from)) {
      yield take(chunk.subarray(from, at), true);
      from = at + 1;
    }
    const rest = chunk.subarray(from);
    heldBytes += rest.length;
    if (rest.length > 0 && heldBytes <= MAX_LINE_BYTES) held.push(rest);
    else if (heldBytes > MAX_LINE_BYTES) held = [];
  }
  if (heldBytes > 0) yield take(Buffer.alloc(0), false);
}

function headerV2(header: CastHeader): Record<string, unknown> {
  const { timestamp, duration, idle_time_limit, command, title } = header.fields;
  // Only what the format knows: what else a file of somebody has may be anything, and of any depth.
  if (header.version !== 3) {
    const { width, height, env } = header.fields;
    const size = { width, height, timestamp, duration };
    const theme = themeOf(header.fields["theme"]);
    return { version: 2, ...size, idle_time_limit, command, title, env, theme };
  }
  const term = header.fields["term"] as { type?: string | null; theme?: unknown };
  const env = { ...(header.fields["env"] as object | undefined) };
  return {
    version: 2,
    width: header.cols,
    height: header.rows,
    timestamp,
    idle_time_limit,
    command,
    title,
    env: term.type == null ? env : { TERM: term.type, ...env },
    theme: themeOf(term.theme),
  };
}

function themeOf(theme: unknown): unknown {
  if (typeof theme !== "object" || theme === null) return undefined;
  const { fg, bg, palette } = theme as Record<string, unknown>;
  return { fg, bg, palette };
}

function damaged(line: number, problem: string): PlatformError {
  return new PlatformError(
    "recording_damaged",
    `Recording is damaged at line ${line}: ${problem}`,
    {
      fix: "agentkube recording verify lists all problems",
    },
  );
}
