import { open, type FileHandle } from "node:fs/promises";
import timers from "node:timers/promises";
import { errnoOf } from "../kit/platform-error.ts";

const PIECE_BYTES = 64 * 1024;
const LOOK_MS = 200;
/** Nothing is read past a longer line: no line that a manager writes comes near. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;

/**
 * The whole lines of a file of JSON lines. With `goesOn` also those that come later: until it says false, and once more after
 * that. A file that is not there yet has no lines.
 */
export async function* followLines(
  path: string,
  goesOn: (() => Promise<boolean>) | null,
  signal: AbortSignal,
): AsyncGenerator<string> {
  await using file = new LateFile(path);
  let last = goesOn === null;
  for (;;) {
    yield* file.newLines();
    if (last || signal.aborted) return;
    // Asked before the next look, so that what was written before the end is still read.
    last = goesOn !== null && !(await goesOn());
    if (!last) await timers.setTimeout(LOOK_MS, undefined, { signal }).catch(() => {});
  }
}

/** A file that may come later, read on from the end of the last whole line: a torn one may be cut and written again. */
class LateFile implements AsyncDisposable {
  readonly #path: string;
  #handle: FileHandle | null = null;
  /** where the first line begins that was not handed out */
  #position = 0;

  constructor(path: string) {
    this.#path = path;
  }

  async *newLines(): AsyncGenerator<string> {
    this.#handle ??= await openIfThere(this.#path);
    if (this.#handle === null) return;
    let held: Buffer = Buffer.alloc(0);
    for (;;) {
      const piece = Buffer.alloc(PIECE_BYTES);
      const { bytesRead } = await this.#handle.read(
        piece,
        0,
        PIECE_BYTES,
        this.#position + held.length,
      );
      if (bytesRead === 0 || held.length > MAX_LINE_BYTES) return;
      held = Buffer.concat([held, piece.subarray(0, bytesRead)]);
      const end = held.lastIndexOf(10) + 1;
      if (end === 0) continue;
      this.#position += end;
      const lines = held.toString("utf8", 0, end - 1).split("\n");
      held = held.subarray(end);
      yield* lines.filter((line) => line !== "");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle?.close();
  }
}

async function openIfThere(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, "r");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    throw error;
  }
}
