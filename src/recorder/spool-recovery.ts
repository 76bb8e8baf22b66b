import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { parseEvent } from "../protocol/asciicast-event.ts";
import { CastPosition, POSITION_PREFIX, RAW_PREFIX } from "../protocol/asciicast.ts";

const STEP_BYTES = 256 * 1024;
/** Of what stands at the end, so much is looked at again: longer tokens are longer than any redactor waits for. */
const TAIL_BYTES = 64 * 1024;

/** Where a spool that was left behind is good up to, and the hash of it. */
export interface Recovered {
  bytes: number;
  position: CastPosition;
  hash: Hash;
  /** the last bytes of output and input in it, as they were written */
  tail: { out: Buffer; in: Buffer };
}

/**
 * Finds the last whole `#pos` line of a spool. What follows it was never acknowledged and is cut by the caller. Null when
 * there is none: nothing of the file was ever acknowledged.
 */
export async function recoverSpool(file: FileHandle): Promise<Recovered | null> {
  const { size } = await file.stat();
  const found = await lastPosition(file, size);
  if (found === null) return null;
  const from = Math.max(0, found.bytes - TAIL_BYTES);
  const tail = tailOf(await readExactly(file, from, found.bytes - from));
  return { ...found, tail, hash: await hashOf(file, found.bytes) };
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
  // A batch is bounded, so the tail that is searched again and again stays small.
  let tail: Buffer = Buffer.alloc(0);
  for (let start = size; start > 0;) {
    const from = Math.max(0, start - STEP_BYTES);
    tail = Buffer.concat([await readExactly(file, from, start - from), tail]);
    start = from;
    const found = positionIn(tail);
    if (found !== null) return { bytes: start + found.end, position: found.position };
  }
  return null;
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

async function hashOf(file: FileHandle, bytes: number): Promise<Hash> {
  const hash = createHash("sha256");
  for (let at = 0; at < bytes; at += STEP_BYTES)
    hash.update(await readExactly(file, at, Math.min(STEP_BYTES, bytes - at)));
  return hash;
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
