import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { CastPosition, POSITION_PREFIX } from "../protocol/asciicast.ts";

const STEP_BYTES = 256 * 1024;

/** Where a spool that was left behind is good up to, and the hash of it. */
export interface Recovered {
  bytes: number;
  position: CastPosition;
  hash: Hash;
}

/**
 * Finds the last whole `#pos` line of a spool. What follows it was never acknowledged and is cut by the caller. Null when
 * there is none: nothing of the file was ever acknowledged.
 */
export async function recoverSpool(file: FileHandle): Promise<Recovered | null> {
  const { size } = await file.stat();
  const found = await lastPosition(file, size);
  if (found === null) return null;
  return { ...found, hash: await hashOf(file, found.bytes) };
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
