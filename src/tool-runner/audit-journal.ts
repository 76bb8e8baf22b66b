import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import timers from "node:timers/promises";
import { PlatformError, errnoOf, messageOf } from "../kit/platform-error.ts";
import type { SigningKey } from "../kit/signing.ts";
import type { AuditRecord } from "../protocol/audit.ts";
import {
  chainLine,
  type ChainedLine,
  type ChainHead,
  firstPrev,
  isSealed,
  parseChainLine,
  sealRecord,
} from "../protocol/audit-chain.ts";
import type { RunId } from "../protocol/ids.ts";

const READ_BYTES = 64 * 1024;
/** Lines kept in memory for who follows closely, so that they need not be read and parsed again. */
const RECENT_LINES = 64;

/** How many lines come together, and how long they are. */
const TOGETHER = { lines: 64, length: 64 * 1024 };

export interface AuditJournalOptions {
  run: RunId;
  /** signs epochs and receipts; its public half is registered with the manager */
  key: SigningKey;
}

/**
 * The audit of a run on this side: a chain of lines, numbered without gaps, never changed. It is the queue to the manager as
 * well, so that what a kill -9 interrupts is neither lost nor numbered twice. What makes it durable is the manager's fdatasync.
 */
export class AuditJournal implements Disposable {
  readonly #fd: number;
  readonly #options: AuditJournalOptions;
  #size = 0;
  /** the last lines, without a gap, each with the offsets where it begins and ends */
  readonly #recent: { line: ChainedLine; from: number; end: number }[] = [];
  #head: ChainHead;
  #epoch = 0;
  #broken: string | null = null;
  #waiting = Promise.withResolvers<void>();

  private constructor(fd: number, options: AuditJournalOptions) {
    this.#fd = fd;
    this.#options = options;
    this.#head = { seq: 0, hash: firstPrev(options.run) };
  }

  /**
   * Opens or makes the journal. A torn last line, which nobody was told of, is cut. Throws `PlatformError` `audit_broken` when a
   * whole line does not follow the one before it, or an epoch is not signed by this key: somebody else wrote here.
   */
  static open(path: string, options: AuditJournalOptions): AuditJournal {
    const { O_RDWR, O_CREAT, O_APPEND, O_NOFOLLOW } = constants;
    const journal = new AuditJournal(
      openSync(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600),
      options,
    );
    try {
      journal.#recover(path);
    } catch (error) {
      closeSync(journal.#fd);
      throw error;
    }
    return journal;
  }

  get lastSeq(): number {
    return this.#head.seq;
  }

  /** The present life of the tool-runner; 0 before the first. */
  get epoch(): number {
    return this.#epoch;
  }

  /** bytes of all lines */
  get size(): number {
    return this.#size;
  }

  /** Begins the next epoch. Every record after this belongs to it. */
  beginEpoch(argumentsKey: string): void {
    this.#epoch += 1;
    this.append({
      type: "epoch_started",
      time: new Date().toISOString(),
      run: this.#options.run,
      key: this.#options.key.publicKey,
      argumentsKey,
    });
  }

  /** Writes a record, signed where it carries a signature. Throws `PlatformError` `audit_unavailable` when it cannot be written whole. */
  append(record: AuditRecord): ChainedLine {
    if (this.#broken !== null) throw unavailable(this.#broken);
    const seq = this.#head.seq + 1;
    const linked = { ...record, epoch: this.#epoch, prev: this.#head.hash };
    const line = chainLine(seq, sealRecord(seq, linked, this.#options.key));
    const bytes = Buffer.from(`${line.text}\n`);
    try {
      if (writeSync(this.#fd, bytes) !== bytes.length) throw new Error("short write");
    } catch (error) {
      // A part of a line would spoil the next one.
      ftruncateSync(this.#fd, this.#size);
      throw unavailable(errnoOf(error) ?? "short write", error);
    }
    const from = this.#size;
    this.#size += bytes.length;
    this.#head = { seq, hash: line.hash };
    this.#recent.push({ line, from, end: this.#size });
    if (this.#recent.length > RECENT_LINES) this.#recent.shift();
    this.#waiting.resolve();
    return line;
  }

  /** No record is taken from now on, so no call begins: the manager has another chain of this run. */
  refuse(why: string): void {
    this.#broken = why;
  }

  /**
   * Every line after `seq`, first those that are there, then new ones at most `gatherMs` after they came, until the signal is aborted:
   * those that are there together come together.
   */
  async *follow(
    seq: number,
    gatherMs: number,
    signal: AbortSignal,
  ): AsyncGenerator<[ChainedLine, ...ChainedLine[]]> {
    const { promise: aborted, resolve } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => resolve(), { once: true });
    let offset = 0;
    while (!signal.aborted) {
      const lines: ChainedLine[] = [];
      let length = 0;
      for (const { line, end } of this.#linesFrom(offset)) {
        offset = end;
        if (line.seq <= seq) continue;
        lines.push(line);
        length += line.text.length;
        if (lines.length === TOGETHER.lines || length > TOGETHER.length) break;
      }
      const [first, ...more] = lines;
      if (first !== undefined) yield [first, ...more];
      if (first !== undefined || offset < this.#size) continue;
      this.#waiting = Promise.withResolvers<void>();
      await Promise.race([this.#waiting.promise, aborted]);
      if (!signal.aborted) await timers.setTimeout(gatherMs);
    }
  }

  /** The hash of line `seq`, or what stands in for it before the first; undefined when there is no such line. */
  hashAt(seq: number): string | undefined {
    if (seq === 0) return firstPrev(this.#options.run);
    if (seq === this.#head.seq) return this.#head.hash;
    for (const { line } of this.#linesFrom(0)) if (line.seq === seq) return line.hash;
    return undefined;
  }

  /** The lines that are there now. */
  *lines(): Generator<ChainedLine> {
    for (const { line } of this.#linesFrom(0)) yield line;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  #recover(path: string): void {
    this.#size = fstatSync(this.#fd).size;
    let good = 0;
    try {
      for (const { line, end } of this.#linesFrom(0)) {
        this.#requireNext(line);
        this.#head = { seq: line.seq, hash: line.hash };
        this.#epoch = line.epoch;
        good = end;
      }
    } catch (error) {
      throw new PlatformError(
        "audit_broken",
        `The audit journal "${path}" is broken after record ${this.#head.seq}: ${messageOf(error)}`,
        { path, fix: "keep the file as it is and start a new run", cause: error },
      );
    }
    ftruncateSync(this.#fd, good);
    this.#size = good;
  }

  #requireNext(line: ChainedLine): void {
    const begins = line.record.type === "epoch_started";
    const isNext =
      line.seq === this.#head.seq + 1 &&
      line.prev === this.#head.hash &&
      line.epoch === this.#epoch + (begins ? 1 : 0);
    if (!isNext) throw new Error("a record does not follow the one before it");
    if (begins && !isSealed(line, this.#options.key.publicKey))
      throw new Error("an epoch is not signed by this run's key");
  }

  /** Whole lines from a byte offset to the present end; a line without its newline is left out. Throws for one that is no record. */
  *#linesFrom(offset: number): Generator<{ line: ChainedLine; end: number }> {
    const known = this.#recent.findIndex(({ from }) => from === offset);
    if (known !== -1) return yield* this.#recent.slice(known);
    const piece = Buffer.allocUnsafe(READ_BYTES);
    let held = Buffer.alloc(0);
    let at = offset;
    for (let end = offset; at < this.#size;) {
      const count = readSync(this.#fd, piece, 0, READ_BYTES, at);
      if (count === 0) return;
      at += count;
      held = Buffer.concat([held, piece.subarray(0, count)]);
      for (let newline = held.indexOf(10); newline !== -1; newline = held.indexOf(10)) {
        const line = parseChainLine(held.toString("utf8", 0, newline));
        end += newline + 1;
        held = held.subarray(newline + 1);
        yield { line, end };
      }
    }
  }
}

function unavailable(why: string, cause?: unknown): PlatformError {
  return new PlatformError("audit_unavailable", `Cannot write the audit journal: ${why}`, {
    cause,
  });
}
