import { createReadStream } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { createInterface } from "node:readline";
import * as z from "zod";
import { endOfWholeLines, writeFully } from "./durable-file.ts";

const SeqOnly = z.looseObject({ seq: z.int().positive() });

interface Waiting {
  seq: number;
  line: Buffer;
  done: PromiseWithResolvers<void>;
}

/**
 * An append-only file of JSON lines with rising sequence numbers. Lines that wait together share one fdatasync; a line is said to be
 * there only after it. A torn last line, left by a crash, was never acknowledged and is cut when the file is opened.
 */
export class Journal implements AsyncDisposable {
  readonly #handle: FileHandle;
  #size: number;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | null = null;
  #lastSeq: number;
  #pendingBytes = 0;
  /** the last whole line when it was opened; null for an empty journal */
  readonly lastLine: string | null;

  private constructor(handle: FileHandle, size: number, lastLine: string | null) {
    this.#handle = handle;
    this.#size = size;
    this.lastLine = lastLine;
    this.#lastSeq = lastLine === null ? 0 : seqOf(lastLine);
  }

  static async open(path: string): Promise<Journal> {
    const handle = await open(path, "a+", 0o600);
    try {
      const { size } = await handle.stat();
      const whole = await endOfWholeLines(handle, size);
      if (whole < size) await handle.truncate(whole);
      // What is in it counts as on disk from now on, also a line that a killed manager had written and not yet synced.
      await handle.datasync();
      return new Journal(handle, whole, await lastLineOf(handle, whole));
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** The highest sequence number taken so far, on disk or on its way. */
  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** Bytes taken that are not on disk yet: the sender is paused above a bound. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Bytes of the file, those on their way to it included. */
  get bytes(): number {
    return this.#size + this.#pendingBytes;
  }

  /**
   * Takes one line; a text is written as it is, and must hold `seq` itself; null takes the number alone, without a line. Resolves with true when it is on disk, with false when this sequence number was there already. After a failed
   * write the lines on their way are forgotten, so that their sender can send them again.
   */
  async append(seq: number, value: object | string | null): Promise<boolean> {
    if (seq <= this.#lastSeq) {
      await this.flushed();
      return false;
    }
    const line = lineOf(seq, value);
    const done = Promise.withResolvers<void>();
    this.#waiting.push({ seq, line, done });
    this.#lastSeq = seq;
    this.#pendingBytes += line.length;
    this.#writing ??= this.#write();
    await done.promise;
    return true;
  }

  /** Resolves when nothing waits. */
  async flushed(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.flushed();
    await this.#handle.close();
  }

  async #write(): Promise<void> {
    // Lets the messages that arrived together share the sync.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      const bytes = Buffer.concat(group.map((item) => item.line));
      try {
        if (bytes.length > 0) {
          await writeFully(this.#handle, bytes, this.#size);
          await this.#handle.datasync();
        }
        this.#size += bytes.length;
        for (const item of group) item.done.resolve();
      } catch (error) {
        await this.#forget(group, error);
      }
      this.#pendingBytes -= bytes.length;
    }
    this.#writing = null;
  }

  async #forget(group: Waiting[], error: unknown): Promise<void> {
    const first = group[0]?.seq ?? 1;
    const lost = [...group, ...this.#waiting];
    for (const item of this.#waiting) this.#pendingBytes -= item.line.length;
    this.#waiting = [];
    this.#lastSeq = first - 1;
    await this.#handle.truncate(this.#size).catch(() => undefined);
    for (const item of lost) item.done.reject(error);
  }
}

/** The lines from sequence number `from` on, as they are in the file. A torn last line and a missing file give nothing. */
export async function* readJournal(path: string, from: number): AsyncGenerator<string> {
  let handle: FileHandle;
  try {
    handle = await open(path, "r");
  } catch {
    return;
  }
  try {
    const whole = await endOfWholeLines(handle, (await handle.stat()).size);
    if (whole === 0) return;
    const input = createReadStream("", { fd: handle, autoClose: false, end: whole - 1 });
    try {
      for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
        if (from <= 1 || seqOf(line) >= from) yield line;
      }
    } finally {
      input.destroy();
    }
  } finally {
    await handle.close();
  }
}

function lineOf(seq: number, value: object | string | null): Buffer {
  if (value === null) return Buffer.alloc(0);
  const text = typeof value === "string" ? value : JSON.stringify({ seq, ...value });
  return Buffer.from(`${text}\n`);
}

async function lastLineOf(handle: FileHandle, whole: number): Promise<string | null> {
  if (whole === 0) return null;
  const start = await endOfWholeLines(handle, whole - 1);
  const line = Buffer.alloc(whole - start - 1);
  await handle.read(line, 0, line.length, start);
  return line.toString("utf8");
}

function seqOf(line: string): number {
  try {
    return SeqOnly.parse(JSON.parse(line)).seq;
  } catch {
    return 0;
  }
}
