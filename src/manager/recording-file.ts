import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { CastLines } from "./cast-lines.ts";
import { writeAllFully } from "./durable-file.ts";
import type { RecordingReader } from "./recording-reader.ts";

/** What became of an append. `conflict`: its bytes differ from those that are here; `ahead`: bytes before it are missing. */
export type AppendResult = "taken" | "known" | "ahead" | "conflict";

/** Bytes taken that are not durable yet; above it `append` waits. */
const MAX_UNSYNCED_BYTES = 4 * 1024 * 1024;
const BLOCK_BYTES = 256 * 1024;
/** The state of the hash is kept at so many places, this far apart at the least. */
const MARKS = { most: 8, everyBytes: 256 * 1024 };

/**
 * A recording on disk: append-only, by offset. What arrives during one fdatasync shares the next. `committed` grows only after
 * the sync, and nothing below it ever changes.
 */
export class RecordingFile implements AsyncDisposable {
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #hash: Hash;
  /** what the hash was at the last places: a digest of bytes that have just become durable does not read the whole file */
  readonly #marks: { bytes: number; hash: Hash }[] = [];
  readonly #listeners = new Set<() => void>();
  #received: number;
  #committed: number;
  #pending: Buffer[] = [];
  #syncing: Promise<void> | null = null;
  #order: Promise<unknown> = Promise.resolve();
  #failure: unknown = null;
  /** what the lines so far ask of those that follow; null: not known, to be read from the file */
  #lines: CastLines | null = null;
  /** digests that are waited for, in the order of their bytes */
  readonly #cuts: { bytes: number; resolve(sha256: string): void; reject(error: Error): void }[] =
    [];

  private constructor(path: string, handle: FileHandle, size: number, hash: Hash) {
    this.path = path;
    this.#handle = handle;
    this.#received = size;
    this.#committed = size;
    this.#hash = hash;
    this.#mark();
  }

  /** Opens or makes the file. All that is in it counts as committed: it is synced first. */
  static async open(path: string): Promise<RecordingFile> {
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      await handle.datasync();
      const hash = createHash("sha256");
      let size = 0;
      for await (const block of blocksOf(handle, 0, Number.POSITIVE_INFINITY)) {
        hash.update(block);
        size += block.length;
      }
      return new RecordingFile(path, handle, size, hash);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Bytes that are durable. */
  get committed(): number {
    return this.#committed;
  }

  /** Bytes that were taken, durable or on their way there. */
  get received(): number {
    return this.#received;
  }

  /** Calls the listener after each change of `committed` and after a failed write; returns what removes it. */
  onCommitted(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Takes bytes at an offset, in the order of the calls. Bytes that are here already are compared and dropped. Throws `bad_message` for
   * what is no recording; none of it is taken.
   */
  append(offset: number, bytes: Buffer): Promise<AppendResult> {
    return this.#inOrder(async () => await this.#append(offset, bytes));
  }

  /** Waits until all that was taken is durable. Throws what a failed write threw; the bytes then have to be sent again. */
  async flushed(): Promise<void> {
    while (this.#syncing !== null) await this.#syncing;
    const failure = this.takeFailure();
    if (failure !== null) throw failure;
  }

  /** What a write threw since the last look, or null. The bytes it concerned are not here and have to be sent again. */
  takeFailure(): unknown {
    const failure = this.#failure;
    this.#failure = null;
    return failure;
  }

  /**
   * SHA-256 of the first `bytes`, as soon as they are durable. Rejects when they were never taken, cannot be written, or the file is
   * closed before: nobody waits for bytes that may not come.
   */
  digestAt(bytes: number): Promise<string> {
    if (bytes > this.#received)
      return Promise.reject(
        new RangeError(`Expected at most the ${this.#received} bytes that are here, got ${bytes}`),
      );
    if (bytes === this.#committed) return Promise.resolve(this.#hash.copy().digest("hex"));
    if (bytes < this.#committed) return this.#digestBefore(bytes);
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const at = this.#cuts.findLastIndex((cut) => cut.bytes <= bytes) + 1;
    this.#cuts.splice(at, 0, { bytes, resolve, reject });
    return promise;
  }

  async #digestBefore(bytes: number): Promise<string> {
    const mark = this.#marks.findLast((known) => known.bytes <= bytes);
    const hash = mark?.hash.copy() ?? createHash("sha256");
    for await (const block of blocksOf(this.#handle, mark?.bytes ?? 0, bytes)) hash.update(block);
    return hash.digest("hex");
  }

  #mark(): void {
    const last = this.#marks.at(-1);
    if (last !== undefined && this.#committed - last.bytes < MARKS.everyBytes) return;
    this.#marks.push({ bytes: this.#committed, hash: this.#hash.copy() });
    if (this.#marks.length > MARKS.most) this.#marks.shift();
  }

  /** Size and SHA-256 of all that was taken, once it is durable. */
  async digest(): Promise<{ bytes: number; sha256: string }> {
    return await this.#inOrder(async () => {
      await this.flushed();
      return { bytes: this.#committed, sha256: this.#hash.copy().digest("hex") };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#order.catch(() => undefined);
    await this.flushed().catch(() => undefined);
    for (const cut of this.#cuts.splice(0)) cut.reject(new Error("Recording was closed"));
    await this.#handle.close();
  }

  #inOrder<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.#order.then(step, step);
    this.#order = turn.catch(() => undefined);
    return turn;
  }

  async #append(offset: number, bytes: Buffer): Promise<AppendResult> {
    if (offset > this.#received) return "ahead";
    const known = Math.min(bytes.length, this.#received - offset);
    if (known > 0) {
      await this.flushed();
      if (!(await this.#isSame(offset, bytes.subarray(0, known)))) return "conflict";
    }
    const fresh = bytes.subarray(known);
    if (fresh.length === 0) return "known";
    while (this.#received - this.#committed > MAX_UNSYNCED_BYTES) await this.#syncing;
    const lines = await this.#linesSoFar();
    if (offset + known !== this.#received) return "ahead";
    this.#lines = null;
    lines.check(fresh);
    this.#lines = lines;
    this.#pending.push(fresh);
    this.#received += fresh.length;
    this.#syncing ??= this.#sync();
    return "taken";
  }

  async #linesSoFar(): Promise<CastLines> {
    if (this.#lines !== null) return this.#lines;
    await this.flushed();
    return await CastLines.after(this.#handle, this.#received);
  }

  /** Bytes that became durable; whoever waits for a digest within them gets it. */
  #count(bytes: Buffer): void {
    let from = 0;
    for (;;) {
      const [cut] = this.#cuts;
      if (cut === undefined || cut.bytes > this.#committed + bytes.length) break;
      const at = Math.max(from, cut.bytes - this.#committed);
      this.#hash.update(bytes.subarray(from, at));
      from = at;
      cut.resolve(this.#hash.copy().digest("hex"));
      this.#cuts.shift();
    }
    this.#hash.update(bytes.subarray(from));
    this.#committed += bytes.length;
  }

  async #isSame(offset: number, bytes: Buffer): Promise<boolean> {
    let at = 0;
    for await (const block of blocksOf(this.#handle, offset, offset + bytes.length)) {
      if (!block.equals(bytes.subarray(at, at + block.length))) return false;
      at += block.length;
    }
    return at === bytes.length;
  }

  async #sync(): Promise<void> {
    await Promise.resolve();
    while (this.#pending.length > 0) {
      const group = this.#pending;
      this.#pending = [];
      try {
        await writeAllFully(this.#handle, group, this.#committed);
        await this.#handle.datasync();
      } catch (error) {
        // What was not acknowledged is taken back, so that the recorder's resend meets a file of exactly the committed bytes.
        this.#pending = [];
        this.#received = this.#committed;
        this.#lines = null;
        this.#failure = error;
        for (const cut of this.#cuts.splice(0))
          cut.reject(new Error("Bytes could not be written", { cause: error }));
        await this.#handle.truncate(this.#committed).catch(() => undefined);
        break;
      }
      for (const bytes of group) this.#count(bytes);
      this.#mark();
      for (const listener of this.#listeners) listener();
    }
    this.#syncing = null;
    if (this.#failure !== null) for (const listener of this.#listeners) listener();
  }
}

/** The bytes of a file from `start` to `end` or its end. Each block is valid only until the next one is asked for. */
export async function* blocksOf(
  handle: Pick<RecordingReader, "read">,
  start: number,
  end: number,
): AsyncGenerator<Buffer> {
  const block = Buffer.allocUnsafe(BLOCK_BYTES);
  let at = start;
  while (at < end) {
    const { bytesRead } = await handle.read(block, 0, Math.min(block.length, end - at), at);
    if (bytesRead === 0) return;
    yield block.subarray(0, bytesRead);
    at += bytesRead;
  }
}
