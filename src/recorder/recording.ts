import type { Log } from "../kit/log.ts";
import { AsciicastWriter } from "../protocol/asciicast-writer.ts";
import type { CastHeaderFacts } from "../protocol/asciicast-writer.ts";
import { BadFrameError } from "../protocol/frames.ts";
import type { BytesFrame, FactFrame, Frame } from "../protocol/frames.ts";
import type { EndBatch, Spool } from "./spool.ts";
import type { Wake } from "./wake.ts";

/** Half a character that does not go on is written as the raw bytes that it is after this long. */
const HELD_MS = 100;

export interface RecordingOptions {
  header: CastHeaderFacts;
  recordInput: boolean;
  log: Log;
}

/**
 * The session as it is written down: takes frames strictly in order, whatever is sent again, and markers between them.
 * A frame is acknowledged when all of its bytes are durable, not when it was read.
 */
export class Recording implements Disposable {
  readonly #spool: Spool;
  readonly #options: RecordingOptions;
  readonly #writer: AsciicastWriter;
  /** last frame taken; last frame wholly in the lines; last fact (a frame without bytes) in the lines */
  #taken: number;
  #whole: number;
  #fact: number;
  #ended: boolean;
  #durable: { seq: number; out: number; in: number; ended: boolean };
  #heldTimer: NodeJS.Timeout | null = null;
  /** session time minus this process's clock, in microseconds; frames correct it */
  #skewUs: number;
  #framesSeen = false;

  constructor(spool: Spool, options: RecordingOptions) {
    this.#spool = spool;
    this.#options = options;
    const { resumed } = spool;
    const position = resumed?.position ?? { seq: 0, fact: 0, out: 0, in: 0, ms: 0, end: false };
    this.#writer = new AsciicastWriter(position);
    this.#taken = position.seq;
    this.#whole = position.seq;
    this.#fact = position.fact;
    this.#ended = position.end;
    this.#durable = { seq: position.seq, out: position.out, in: position.in, ended: position.end };
    this.#skewUs = (position.ms + (resumed?.idleMs ?? 0)) * 1000 - clockUs();
    spool.begin(() => this.#endBatch());
    if (resumed === null) spool.append(this.#writer.header(options.header));
  }

  /** What is safe: the last frame wholly on disk, byte counts, and whether the end is. */
  get durable(): { seq: number; out: number; in: number; ended: boolean } {
    return this.#durable;
  }

  /** Whether the exit or an interruption was taken; nothing is written any more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Rings when `durable` changed. */
  get changed(): Wake {
    return this.#spool.grown;
  }

  /** Takes one frame. Throws `BadFrameError` when one before it is missing. */
  take(frame: Frame): void {
    this.#correctClock(frame.timeUs);
    // Sent again after a reconnect, and taken before.
    if (frame.seq <= this.#taken) return;
    if (frame.seq !== this.#taken + 1)
      throw new BadFrameError(`Expected frame ${this.#taken + 1}, got ${frame.seq}`);
    if (this.#ended) throw new BadFrameError(`Got frame ${frame.seq} after the end of the session`);
    const lines = "bytes" in frame ? this.#linesOfBytes(frame) : this.#linesOfFact(frame);
    this.#taken = frame.seq;
    this.#written(lines);
  }

  /** Adds a marker of somebody else than the producer. After the end it is dropped. */
  mark(label: string, timeUs?: number): void {
    if (this.#ended) return;
    const now = this.#nowUs();
    this.#written(this.#writer.marker(label, Math.min(timeUs ?? now, now)));
  }

  /** Ends the recording without an exit status, and says why. */
  interrupt(cause: string): void {
    if (this.#ended) return;
    const now = this.#nowUs();
    const rest = this.#writer.flush(now);
    this.#ended = true;
    const label = `recording interrupted: ${cause}`.slice(0, 4096);
    this.#written(Buffer.concat([rest, this.#writer.marker(label, now)]));
  }

  /** Resolves while there is room for more. */
  async room(): Promise<void> {
    await this.#spool.room();
  }

  [Symbol.dispose](): void {
    this.#stopHeldTimer();
  }

  #linesOfBytes(frame: BytesFrame): Buffer {
    const { type, timeUs, offset } = frame;
    if (type === "input" && !this.#options.recordInput) return Buffer.alloc(0);
    const { out, in: typed } = this.#writer.written;
    const known = type === "output" ? out + this.#writer.heldBytes : typed;
    if (offset > known)
      throw new BadFrameError(`Expected ${type} from byte ${known} on, got it from byte ${offset}`);
    const bytes = frame.bytes.subarray(known - offset);
    if (type === "input") return this.#writer.input(bytes, timeUs);
    const lines = this.#writer.output(bytes, timeUs);
    // What is held now came with this frame alone: those before it are whole. Else a stream whose every frame ends inside a
    // character would never be acknowledged.
    if (bytes.length >= this.#writer.heldBytes) {
      this.#whole = frame.seq - 1;
      this.#heldTimer?.refresh();
    }
    return lines;
  }

  #linesOfFact(frame: FactFrame): Buffer {
    const { seq, timeUs } = frame;
    // Written by the recorder before this one, although a frame before it was not whole.
    if (seq <= this.#fact) return Buffer.alloc(0);
    this.#fact = seq;
    switch (frame.type) {
      case "resize":
        return this.#writer.resize(frame.cols, frame.rows, timeUs);
      case "marker":
        return this.#writer.marker(frame.label, timeUs);
      case "exit": {
        this.#ended = true;
        const rest = this.#writer.flush(timeUs);
        return Buffer.concat([rest, this.#writer.exit(frame.status, timeUs)]);
      }
    }
  }

  #written(lines: Buffer): void {
    this.#spool.append(lines);
    if (this.#writer.heldBytes === 0) {
      this.#whole = this.#taken;
      this.#stopHeldTimer();
    } else {
      this.#heldTimer ??= setTimeout(() => this.#flushHeld(), HELD_MS);
    }
  }

  #flushHeld(): void {
    this.#heldTimer = null;
    if (this.#writer.heldBytes > 0) this.#written(this.#writer.flush(this.#nowUs()));
  }

  #stopHeldTimer(): void {
    if (this.#heldTimer !== null) clearTimeout(this.#heldTimer);
    this.#heldTimer = null;
  }

  #endBatch(): ReturnType<EndBatch> {
    const frames = { seq: this.#whole, fact: this.#fact, end: this.#ended };
    const { out, in: typed } = this.#writer.written;
    return {
      line: this.#writer.position(frames),
      durable: () => {
        this.#durable = { seq: frames.seq, out, in: typed, ended: frames.end };
      },
    };
  }

  /** The frame that took the shortest way is the best witness of the session's clock. */
  #correctClock(timeUs: number): void {
    const skewUs = timeUs - clockUs();
    this.#skewUs = this.#framesSeen ? Math.max(this.#skewUs, skewUs) : skewUs;
    this.#framesSeen = true;
  }

  #nowUs(): number {
    return Math.max(0, clockUs() + this.#skewUs);
  }
}

function clockUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}
