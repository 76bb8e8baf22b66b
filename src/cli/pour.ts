import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { Writable } from "node:stream";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";

const BATCH_BYTES = 64 * 1024;

/**
 * Writes all of `source` to an open stream at the reader's pace, in constant memory. Ends early when the reader is gone.
 * `atOnce`: each piece as it comes, for a source that waits for the world.
 */
export async function pour(
  source: AsyncIterable<Buffer | string>,
  target: Writable,
  { atOnce = false } = {},
): Promise<void> {
  for await (const piece of atOnce ? source : batches(source)) {
    if (target.destroyed || target.errored !== null) return;
    if (!target.write(piece)) await once(target, "drain");
  }
}

/** Writes all of `source` to a file: whole or not at all, since it gets its name only when it is on disk. */
export async function pourToFile(
  source: AsyncIterable<Buffer | string>,
  path: string,
): Promise<number> {
  const partial = `${path}.${randomBytes(4).toString("hex")}.partial`;
  let bytes = 0;
  try {
    await using file = await open(partial, "wx", 0o644);
    for await (const batch of batches(source)) {
      await file.writeFile(batch);
      bytes += batch.length;
    }
    await file.sync();
    await rename(partial, path);
    return bytes;
  } catch (error) {
    await rm(partial, { force: true });
    if (error instanceof PlatformError) throw error;
    throw new PlatformError(
      "write_failed",
      `Cannot write "${path}": ${errnoOf(error) ?? messageOf(error)}`,
      { path, fix: `check that "${dirname(path)}" exists, is yours and has room`, cause: error },
    );
  }
}

/** Small pieces joined: an event of a recording is often a few bytes, and a write for each would cost more than the reading. */
async function* batches(source: AsyncIterable<Buffer | string>): AsyncGenerator<Buffer> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  try {
    for await (const piece of source) {
      const bytes = typeof piece === "string" ? Buffer.from(piece) : piece;
      held.push(bytes);
      heldBytes += bytes.length;
      if (heldBytes < BATCH_BYTES) continue;
      const full = Buffer.concat(held, heldBytes);
      held = [];
      heldBytes = 0;
      yield full;
    }
  } catch (error) {
    // What came before the fault is good.
    if (heldBytes > 0) yield Buffer.concat(held, heldBytes);
    throw error;
  }
  if (heldBytes > 0) yield Buffer.concat(held, heldBytes);
}
