import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import * as z from "zod";
import { PlatformError, errnoOf } from "../kit/platform-error.ts";
import { AuditRecord } from "../protocol/audit.ts";

const JournalLine = z.strictObject({ seq: z.int().positive(), record: AuditRecord });
export type JournalLine = z.infer<typeof JournalLine>;

/** Records of requests are dropped (and counted) beyond this; records of calls are kept always. */
const REQUESTS_LIMIT_BYTES = 64 * 1024 * 1024;
const READ_BYTES = 64 * 1024;

/**
 * The audit of a run on this side: one line a record, numbered without gaps, never changed. It is the queue to the manager as
 * well, so that what a kill -9 interrupts is neither lost nor numbered twice.
 */
export class AuditJournal implements Disposable {
  readonly #fd: number;
  #size = 0;
  #lastSeq = 0;
  #dropped = 0;
  #waiting = Promise.withResolvers<void>();

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Opens or makes the journal. Calls that an earlier process had open are closed as `lost`. */
  static open(path: string): AuditJournal {
    const journal = new AuditJournal(
      openSync(
        path,
        constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW,
        0o600,
      ),
    );
    journal.#recover();
    return journal;
  }

  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** records of requests that did not fit any more */
  get dropped(): number {
    return this.#dropped;
  }

  /** Writes a record. Throws `PlatformError` `audit_unavailable` when it cannot be written whole. */
  append(record: AuditRecord): void {
    if (record.type === "request" && this.#size > REQUESTS_LIMIT_BYTES) {
      this.#dropped += 1;
      return;
    }
    const line = Buffer.from(`${JSON.stringify({ seq: this.#lastSeq + 1, record })}\n`);
    try {
      if (writeSync(this.#fd, line) !== line.length) throw new Error("short write");
    } catch (error) {
      // A part of a line would spoil the next one.
      ftruncateSync(this.#fd, this.#size);
      throw new PlatformError(
        "audit_unavailable",
        `Cannot write the audit journal: ${errnoOf(error) ?? "short write"}`,
        { cause: error },
      );
    }
    this.#size += line.length;
    this.#lastSeq += 1;
    this.#waiting.resolve();
  }

  /** Every record after `seq`, first those that are there, then new ones as they come, until the signal is aborted. */
  async *follow(seq: number, signal: AbortSignal): AsyncGenerator<JournalLine> {
    const { promise: aborted, resolve } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => resolve(), { once: true });
    let offset = 0;
    while (!signal.aborted) {
      for (const { line, end } of this.#linesFrom(offset)) {
        offset = end;
        if (line.seq > seq) yield line;
        if (signal.aborted) return;
      }
      if (offset < this.#size) continue;
      this.#waiting = Promise.withResolvers<void>();
      await Promise.race([this.#waiting.promise, aborted]);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  #recover(): void {
    this.#size = fstatSync(this.#fd).size;
    const open = new Map<string, AuditRecord & { type: "call_started" }>();
    let good = 0;
    for (const { line, end } of this.#linesFrom(0)) {
      good = end;
      this.#lastSeq = line.seq;
      if (line.record.type === "call_started") open.set(line.record.call, line.record);
      if (line.record.type === "call") open.delete(line.record.call);
    }
    // What follows the last whole line was never acknowledged to anyone.
    ftruncateSync(this.#fd, good);
    this.#size = good;
    for (const call of open.values()) this.append(lostRecord(call));
  }

  /** Whole lines from a byte offset to the present end; stops before a line that is torn. */
  *#linesFrom(offset: number): Generator<{ line: JournalLine; end: number }> {
    const piece = Buffer.allocUnsafe(READ_BYTES);
    let held = Buffer.alloc(0);
    let at = offset;
    for (let end = offset; at < this.#size;) {
      const count = readSync(this.#fd, piece, 0, READ_BYTES, at);
      if (count === 0) return;
      at += count;
      held = Buffer.concat([held, piece.subarray(0, count)]);
      for (let newline = held.indexOf(10); newline !== -1; newline = held.indexOf(10)) {
        const line = parseLine(held.toString("utf8", 0, newline));
        if (line === null) return;
        end += newline + 1;
        held = held.subarray(newline + 1);
        yield { line, end };
      }
    }
  }
}

function parseLine(text: string): JournalLine | null {
  try {
    return JournalLine.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

function lostRecord(call: AuditRecord & { type: "call_started" }): AuditRecord {
  return {
    type: "call",
    time: new Date().toISOString(),
    run: call.run,
    call: call.call,
    tool: call.tool,
    operation: call.operation,
    outcome: "lost",
    exitCode: null,
    detail: { cause: "The tool-runner ended while the call was running" },
    tier: null,
    durationMs: Math.max(0, Date.now() - Date.parse(call.time)),
    requests: 0,
    masked: 0,
  };
}
