import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import { constants } from "node:fs";
import { open, rmdir, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import timers from "node:timers/promises";
import { BatchBuffer } from "../kit/batch-buffer.ts";
import type { Log } from "../kit/log.ts";
import { makeDirectories } from "../kit/make-directories.ts";
import { native } from "../kit/native.ts";
import { PlatformError, errnoOf, messageOf } from "../kit/platform-error.ts";
import type { CastPosition } from "../protocol/asciicast.ts";
import { readInto, recoverSpool } from "./spool-recovery.ts";
import { CLOSING_BYTES, RESERVE_BYTES, SpoolReserve } from "./spool-reserve.ts";
import { Wake } from "./wake.ts";

/** Lines that wait for the disk; beyond it, `room` waits and the producer with it. */
const PENDING_BYTES = 2 * 1024 * 1024;
/** A batch is gathered this long unless it is large or somebody waits: at most 200 syncs a second. */
const GATHER_MS = 5;
const LARGE_BATCH_BYTES = 512 * 1024;
const RETRY_MS = 500;
const REFILL_MS = 1000;
/** The disk has no room: somebody may make some. Everything else does not heal by waiting. */
const FULL = new Set(["ENOSPC", "EDQUOT"]);

export interface SpoolOptions {
  path: string;
  log: Log;
  /** Largest size of the file; none unless given. */
  quotaBytes?: number | undefined;
  /** Keeps room on the disk too, for those who go on when it is full. Without it `room` waits. Below the quota there always is some. */
  keepReserve?: boolean | undefined;
  /** Opens the file; another one in tests, whose disk fails. */
  open?: (path: string, flags: number, mode: number) => Promise<FileHandle>;
}

/** Called when a batch is closed: adds the line that ends it to `lines`, and gives what to call once the batch is durable. */
export type EndBatch = () => () => void;

/** What an earlier recorder of this session left. */
export interface Resume {
  position: CastPosition;
  /** how long ago the file was last written */
  idleMs: number;
  /** the last bytes of output and input */
  tail: { out: Buffer; in: Buffer };
  /** the width of the last resize; null when there was none */
  cols: number | null;
  /** the number of the redaction set that was last in use; 0 when there was none */
  redactionSet: number;
}

/**
 * The recording on the recorder's own disk: one append-only file. Lines are written in batches, each followed by a position
 * and fdatasync, then counted as `durable`. Only durable bytes are read by others.
 */
export class Spool implements AsyncDisposable {
  readonly resumed: Resume | null;
  /** The one bell of a recorder: rings when `durableBytes` grew or `failure` was set; others ring it for what they know. */
  readonly grown = new Wake();
  /** What comes next: whole lines are written here, and then `commitSoon` is called, in one go. */
  readonly lines = new BatchBuffer();
  /** what is being written; it takes turns with `lines` */
  readonly #writing = new BatchBuffer();
  readonly #options: SpoolOptions;
  readonly #file: FileHandle;
  readonly #reserve: SpoolReserve | null;
  readonly #softBytes: number;
  readonly #closingBytes: number;
  readonly #hash: Hash;
  readonly #closing = new AbortController();
  #durable: number;
  #touched = false;
  #running: Promise<void> | null = null;
  #hurry = new AbortController();
  #failure: PlatformError | null = null;
  #full = false;
  #endBatch: EndBatch | null = null;
  readonly #refilling: NodeJS.Timeout | undefined;
  readonly #onDurable = new Set<() => void>();

  constructor(
    options: SpoolOptions,
    file: FileHandle,
    start: { bytes: number; hash: Hash; resumed: Resume | null; reserve: SpoolReserve | null },
  ) {
    this.#options = options;
    this.#file = file;
    this.#reserve = start.reserve;
    this.#full = start.reserve?.isWhole === false;
    const { quotaBytes = Infinity } = options;
    this.#softBytes = quotaBytes - RESERVE_BYTES;
    this.#closingBytes = quotaBytes - CLOSING_BYTES;
    if (start.reserve !== null)
      this.#refilling = setInterval(() => void this.#refill(), REFILL_MS).unref();
    this.#durable = start.bytes;
    this.#hash = start.hash;
    this.resumed = start.resumed;
  }

  get durableBytes(): number {
    return this.#durable;
  }

  /** Set when the file cannot be written or read any more; the recorder must end. */
  get failure(): PlatformError | null {
    return this.#failure;
  }

  /** Whether all that was written is durable. */
  get isIdle(): boolean {
    return this.#running === null;
  }

  /** Whether the disk has no room at the moment, or the quota is used up but for the reserve. */
  get isFull(): boolean {
    return this.#full || this.isAtQuota;
  }

  /** Whether the quota is used up but for the reserve. That never heals. */
  get isAtQuota(): boolean {
    return this.#allBytes >= this.#softBytes;
  }

  /** Whether so many bytes more would take of what the quota keeps for the end. */
  isSpent(bytes = 0): boolean {
    return this.#allBytes + bytes >= this.#closingBytes;
  }

  get #allBytes(): number {
    return this.#durable + this.lines.length + this.#writing.length;
  }

  /** Where the checkpoints of this spool lie. */
  get checkpointsPath(): string {
    return join(dirname(this.#options.path), "checkpoints.jsonl");
  }

  /** SHA-256 of the durable bytes, hex. */
  sha256(): string {
    return this.#hash.copy().digest("hex");
  }

  /** Calls the listener at once when more is durable: then `durableBytes` and `sha256` are of the same bytes. */
  onDurable(listener: () => void): void {
    this.#onDurable.add(listener);
  }

  /** To be called once, before the first `commitSoon`. */
  begin(endBatch: EndBatch): void {
    this.#endBatch = endBatch;
  }

  /** Makes a batch of what stands in `lines`; of nothing too, for a position that changed without a line. */
  commitSoon(): void {
    if (this.#failure !== null || this.#closing.signal.aborted) {
      this.lines.clear();
      return;
    }
    this.#touched = true;
    if (this.lines.length >= LARGE_BATCH_BYTES) this.#hurry.abort();
    this.#running ??= this.#run();
  }

  /** Resolves while less than the bound waits for the disk. Throws when the spool has failed or was closed. */
  async room(): Promise<void> {
    while (this.lines.length + this.#writing.length >= PENDING_BYTES) {
      this.#throwIfOver();
      await this.grown.next;
    }
    this.#throwIfOver();
  }

  /** Resolves once everything written before is durable. Throws when the spool has failed, or the signal's reason. */
  async flush(signal: AbortSignal): Promise<void> {
    while (this.#running !== null) {
      this.#hurry.abort();
      this.#throwIfOver();
      signal.throwIfAborted();
      await this.grown.next;
    }
    this.#throwIfOver();
  }

  /** Fills `buffer` from `offset` on with durable bytes that begin at `at` in the file. Throws when the spool fails by it. */
  async read(buffer: Buffer, offset: number, at: number): Promise<void> {
    try {
      await readInto(this.#file, buffer, offset, at);
    } catch (error) {
      this.#fail("read", error);
      this.#throwIfOver();
    }
  }

  /** Removes the file, what lies beside it and its directory: the manager has it all. */
  async remove(): Promise<void> {
    await unlink(this.#options.path);
    await unlink(this.checkpointsPath).catch(() => undefined);
    await this.#reserve?.remove();
    await rmdir(dirname(this.#options.path)).catch((error: unknown) => {
      this.#options.log.warn({ err: error }, "spool directory not removed");
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#hurry.abort();
    this.grown.ring();
    clearInterval(this.#refilling);
    await this.#running?.catch(() => undefined);
    await this.#reserve?.[Symbol.asyncDispose]();
    await this.#file.close().catch((error: unknown) => {
      this.#options.log.warn({ err: error }, "spool not closed");
    });
  }

  #throwIfOver(): void {
    if (this.#failure !== null) throw this.#failure;
    if (this.#closing.signal.aborted)
      throw new PlatformError("spool_closed", "Spool was closed before everything was written");
  }

  async #run(): Promise<void> {
    try {
      while (this.#touched) {
        await this.#gather();
        if (this.#endBatch === null) throw new TypeError("Spool is written before it was begun");
        const durable = this.#endBatch();
        this.lines.swap(this.#writing);
        this.#touched = false;
        const batch = this.#writing.bytes;
        await this.#commit(batch);
        this.#hash.update(batch);
        this.#durable += batch.length;
        this.#writing.clear();
        durable();
        for (const listener of this.#onDurable) listener();
        this.grown.ring();
      }
    } catch (error) {
      this.#fail("write", error);
    }
    this.#running = null;
    this.grown.ring();
  }

  #fail(what: "read" | "write", error: unknown): void {
    if (this.#closing.signal.aborted) return;
    this.#failure ??= new PlatformError(
      "spool_failed",
      `Cannot ${what} the spool: ${messageOf(error)}`,
      { path: this.#options.path, cause: error },
    );
    this.grown.ring();
  }

  async #gather(): Promise<void> {
    // A new controller for each batch: `flush` and a large batch end the wait at once.
    if (this.lines.length < LARGE_BATCH_BYTES && !this.#hurry.signal.aborted)
      await timers
        .setTimeout(GATHER_MS, undefined, { signal: this.#hurry.signal })
        .catch(() => undefined);
    if (this.#hurry.signal.aborted) this.#hurry = new AbortController();
  }

  /** Writes and syncs one batch at the end of what is good; after a failure the file is cut back before the next try. */
  async #commit(batch: Buffer): Promise<void> {
    for (;;) {
      try {
        await this.#belowQuota(batch);
        await this.#write(batch);
        await this.#file.datasync();
        if (this.#full && this.#reserve === null) this.#hasRoom();
        return;
      } catch (error) {
        if (this.#closing.signal.aborted) throw error;
        await this.#file.truncate(this.#durable);
        // Before the first byte nothing can be lost: better no session than one that waits from the start.
        if (!FULL.has(errnoOf(error) ?? "") || this.#durable === 0) throw error;
        if (!this.#full) this.#options.log.error({ err: error }, "spool is full");
        this.#full = true;
        this.grown.ring();
        if ((await this.#reserve?.give(batch.length)) === true) continue;
        await timers.setTimeout(RETRY_MS, undefined, { signal: this.#closing.signal });
      }
    }
  }

  /** Beyond the quota nothing is written any more; only the end of the recorder ends this wait. */
  async #belowQuota(batch: Buffer): Promise<void> {
    const { quotaBytes = Infinity, log } = this.#options;
    if (this.#durable + batch.length <= quotaBytes) return;
    log.error({ quotaBytes }, "spool has reached its quota, the session waits");
    await new Promise((_, reject) => {
      const { signal } = this.#closing;
      const end = (): void => reject(new Error("Spool was closed"));
      if (signal.aborted) end();
      else signal.addEventListener("abort", end, { once: true });
    });
  }

  /** The disk has room again once the whole reserve is there again. */
  async #refill(): Promise<void> {
    if (!this.#full || this.#reserve === null || this.#closing.signal.aborted) return;
    if (await this.#reserve.refill()) this.#hasRoom();
  }

  #hasRoom(): void {
    this.#options.log.info("spool has room again");
    this.#full = false;
    this.grown.ring();
  }

  async #write(batch: Buffer): Promise<void> {
    for (let done = 0; done < batch.length;) {
      const at = this.#durable + done;
      const { bytesWritten } = await this.#file.write(batch, done, batch.length - done, at);
      done += bytesWritten;
    }
  }
}

/**
 * Opens the spool and repairs what an earlier recorder left. When it returns, all that the file holds is durable. Throws
 * `PlatformError` `spool_failed` with the path.
 */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  const { path, log } = options;
  let file: FileHandle | null = null;
  try {
    makeDirectories(dirname(path));
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
    file = await (options.open ?? open)(path, flags, 0o600);
    if (!native().lockFile(file.fd))
      throw new PlatformError("spool_in_use", "another recorder has it open");
    const before = await file.stat();
    const recovered = await recoverSpool(file);
    await file.truncate(recovered?.bytes ?? 0);
    await file.datasync();
    await syncDirectory(dirname(path));
    const reserve =
      options.keepReserve === true ? await SpoolReserve.open(join(dirname(path), "reserve")) : null;
    if (recovered === null)
      return new Spool(options, file, {
        bytes: 0,
        hash: createHash("sha256"),
        resumed: null,
        reserve,
      });
    const { bytes, hash, ...found } = recovered;
    log.info({ bytes, cut: before.size - bytes, seq: found.position.seq }, "spool recovered");
    const idleMs = Math.max(0, Date.now() - before.mtimeMs);
    return new Spool(options, file, { bytes, hash, resumed: { ...found, idleMs }, reserve });
  } catch (error) {
    await file?.close().catch(() => undefined);
    throw new PlatformError("spool_failed", `Cannot open the spool: ${messageOf(error)}`, {
      path,
      cause: error,
      fix: "check that the directory is writable and has room, and that no other recorder of this run is alive",
    });
  }
}

/** A new file is only found again after a power cut when its directory was synced. */
async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, constants.O_RDONLY);
  await directory.sync();
}
