import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { parseEvent } from "../protocol/asciicast-event.ts";
import {
  CastPosition,
  POSITION_PREFIX,
  RAW_PREFIX,
  REDACTION_PREFIX,
} from "../protocol/asciicast.ts";

const STEP_BYTES = 256 * 1024;
/** So much of the end is read again. One event of 64 KiB may be a line of six times that, and short ones are mostly `#pos`. */
const TAIL_BYTES = 1024 * 1024;
/** A batch is at most what may wait for the disk and the lines of one frame more, and one batch at most is cut: 9 MiB together. */
const SEARCH_BYTES = 16 * 1024 * 1024;
/** A quote inside a text is escaped, so what begins with this is an event. */
const RESIZE = ', "r", "';
const REDACTION = `\n${REDACTION_PREFIX}`;
/** A line of these two is shorter. */
const SHORT_LINE_BYTES = 256;

/** Where a spool that was left behind is good up to, and the hash of it. */
export interface Recovered {
  bytes: number;
  position: CastPosition;
  hash: Hash;
  /** the last bytes of output and input in it, as they were written */
  tail: { out: Buffer; in: Buffer };
  /** the width of the last resize in it; null: none */
  cols: number | null;
  /** the number in the last `#redaction` line; 0: none */
  redactionSet: number;
}

/**
 * Finds the last whole `#pos` line of a spool. What follows it was never acknowledged and is cut by the caller. Null when
 * there is none: nothing of the file was ever acknowledged. Throws when a large file has none near its end: no recorder leaves one so.
 */
export async function recoverSpool(file: FileHandle): Promise<Recovered | null> {
  const { size } = await file.stat();
  const found = await lastPosition(file, size);
  if (found === null) return null;
  const from = Math.max(0, found.bytes - TAIL_BYTES);
  const tail = tailOf(await readExactly(file, from, found.bytes - from));
  return { ...found, tail, ...(await readThrough(file, found.bytes)) };
}

/** The bytes of the events in these lines, of which the first may be cut. */
function tailOf(lines: Buffer): Recovered["tail"] {
  const bytes = { o: [] as Buffer[], i: [] as Buffer[] };
  let raw: Buffer | null = null;
  for (const line of lines.toString("utf8").split("\n").slice(1)) {
    if (line.startsWith(RAW_PREFIX)) raw = Buffer.from(line.slice(RAW_PREFIX.length), "base64");
    if (!line.startsWith("[")) continue;
    const event = parseEvent(line);
    if (!("problem" in event) && (event.code === "o" || event.code === "i"))
      bytes[event.code].push(raw ?? Buffer.from(event.data));
    raw = null;
  }
  return { out: Buffer.concat(bytes.o), in: Buffer.concat(bytes.i) };
}

/** Reads backwards, so that the size of the recording does not matter. */
async function lastPosition(
  file: FileHandle,
  size: number,
): Promise<{ bytes: number; position: CastPosition } | null> {
  for (let length = STEP_BYTES; length <= SEARCH_BYTES; length *= 2) {
    const from = Math.max(0, size - length);
    const found = positionIn(await readExactly(file, from, size - from));
    if (found !== null) return { bytes: from + found.end, position: found.position };
    if (from === 0) return null;
  }
  throw new Error(
    `Expected a #pos line in the last ${SEARCH_BYTES / 1024 ** 2} MiB of ${size} bytes, got none: this is no spool, or it was changed`,
  );
}

function positionIn(bytes: Buffer): { end: number; position: CastPosition } | null {
  const mark = Buffer.from(`\n${POSITION_PREFIX}`);
  for (
    let at = bytes.lastIndexOf(mark);
    at !== -1;
    at = at === 0 ? -1 : bytes.lastIndexOf(mark, at - 1)
  ) {
    const end = bytes.indexOf(10, at + 1);
    if (end === -1) continue;
    const position = parsePosition(bytes.toString("utf8", at + mark.length, end));
    if (position !== null) return { end: end + 1, position };
  }
  return null;
}

/** A cut line is not a fault here: it is what recovery is for. */
function parsePosition(text: string): CastPosition | null {
  try {
    return CastPosition.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

/** The hash, and what the last lines of two kinds say, wherever they stand. */
async function readThrough(
  file: FileHandle,
  bytes: number,
): Promise<Pick<Recovered, "hash" | "cols" | "redactionSet">> {
  const hash = createHash("sha256");
  let cols: number | null = null;
  let redactionSet = 0;
  let before: Buffer = Buffer.alloc(0);
  for (let at = 0; at < bytes; at += STEP_BYTES) {
    const step = await readExactly(file, at, Math.min(STEP_BYTES, bytes - at));
    hash.update(step);
    // A line may begin in the step before.
    const text = Buffer.concat([before, step]);
    cols = lastMatch(text, RESIZE, /^(\d+)x\d+"\]\n/) ?? cols;
    redactionSet = lastMatch(text, REDACTION, /^\{"set":(\d+),/) ?? redactionSet;
    before = text.subarray(-SHORT_LINE_BYTES);
  }
  return { hash, cols, redactionSet };
}

/** The number that the last place with this beginning and this rest holds. */
function lastMatch(bytes: Buffer, begin: string, rest: RegExp): number | null {
  for (let at = bytes.lastIndexOf(begin); at !== -1; at = bytes.lastIndexOf(begin, at - 1)) {
    const from = at + begin.length;
    const found = rest.exec(bytes.toString("latin1", from, from + SHORT_LINE_BYTES));
    if (found !== null) return Number(found[1]);
    if (at === 0) break;
  }
  return null;
}

/** Reads `length` bytes at `at`. Throws when the file is shorter. */
export async function readExactly(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  await readInto(file, buffer, 0, at);
  return buffer;
}

/** Fills `buffer` from `offset` on with what the file holds at `at`. Throws when the file is shorter. */
export async function readInto(
  file: FileHandle,
  buffer: Buffer,
  offset: number,
  at: number,
): Promise<void> {
  for (let done = offset; done < buffer.length;) {
    const { bytesRead } = await file.read(buffer, done, buffer.length - done, at + done - offset);
    if (bytesRead === 0) throw new Error(`Spool ends before byte ${at + buffer.length - offset}`);
    done += bytesRead;
  }
}
