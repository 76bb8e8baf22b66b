import { open, rename, rm, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { randomBytes } from "node:crypto";
import { errnoOf } from "../kit/platform-error.ts";
import type { RecordingReader } from "./recording-reader.ts";

/** How many buffers one writev(2) takes at the most: IOV_MAX. */
const MAX_VECTORS = 1024;

/** Writes a whole file so that a reader, or a crash, sees the old content or the new one. Mode 0600. */
export async function writeAtomically(path: string, text: string): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(text);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Makes the names in a directory durable: a new file is lost after a power cut without it. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes all the bytes at `position`; one write(2) may take only some of them. */
export async function writeFully(
  handle: FileHandle,
  bytes: Buffer,
  position: number,
): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

/** The same for buffers that follow each other, without joining them. */
export async function writeAllFully(
  handle: FileHandle,
  buffers: readonly Buffer[],
  position: number,
): Promise<void> {
  let at = position;
  for (let next = 0; next < buffers.length; next += MAX_VECTORS) {
    let rest = buffers.slice(next, next + MAX_VECTORS);
    while (rest.length > 0) {
      const { bytesWritten } = await handle.writev(rest, at);
      at += bytesWritten;
      rest = behind(rest, bytesWritten);
    }
  }
}

/** What is left of these buffers behind their first bytes. */
function behind(buffers: readonly Buffer[], bytes: number): Buffer[] {
  let left = bytes;
  return buffers.flatMap((buffer) => {
    const skipped = Math.min(left, buffer.length);
    left -= skipped;
    return skipped === buffer.length ? [] : [buffer.subarray(skipped)];
  });
}

/** The size of a file whose bytes are all durable by then; 0 for one that is not there. */
export async function durableSizeOf(path: string): Promise<number> {
  try {
    await using handle = await open(path, "r");
    await handle.datasync();
    return (await handle.stat()).size;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return 0;
    throw error;
  }
}

/** The offset after the last line feed before `end`; 0 when there is none. */
export async function endOfWholeLines(
  handle: Pick<RecordingReader, "read">,
  end: number,
): Promise<number> {
  const block = Buffer.alloc(64 * 1024);
  let upper = end;
  while (upper > 0) {
    const lower = Math.max(0, upper - block.length);
    const { bytesRead } = await handle.read(block, 0, upper - lower, lower);
    const at = block.subarray(0, bytesRead).lastIndexOf(0x0a);
    if (at >= 0) return lower + at + 1;
    if (bytesRead === 0) return 0;
    upper = lower;
  }
  return 0;
}
