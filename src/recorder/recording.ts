import { redactText } from "../kit/redact-text.ts";
import { TerminalRedactor } from "../kit/terminal-redactor.ts";
import { AsciicastWriter } from "../protocol/asciicast-writer.ts";
import type { CastPosition } from "../protocol/asciicast.ts";
import type { CastHeaderFacts } from "../protocol/asciicast-writer.ts";
import { BadFrameError } from "../protocol/frames.ts";
import type { BytesFrame, FactFrame, Frame } from "../protocol/frames.ts";
import { MAX_ESCAPED } from "../protocol/json-bytes.ts";
import type { WhenFull } from "../protocol/agent-manifest.ts";
import { Gap } from "./gap.ts";
import type { Redaction } from "./redaction.ts";
import type { EndBatch, Spool } from "./spool.ts";
import type { Wake } from "./wake.ts";

/** Half a character that does not go on is written as the raw bytes that it is after this long. */
const HELD_MS = 100;
/** A frame's time may be so far ahead of ours: what a recorder missed while there was none, it knows from its file's age alone. */
const MAX_AHEAD_US = 3600 * 1_000_000;

export interface RecordingOptions {
  header: CastHeaderFacts;
  recordInput: boolean;
  redaction: Redaction;
  /** What a full spool does, `block` unless given: the frames wait until the quota is reached, or output is dropped, counted and marked. */
  whenFull?: WhenFull | undefined;
  /** Another time than HELD_MS, for tests. */
  heldMs?: number;
}

const START: CastPosition = { seq: 0, fact: 0, out: 0, in: 0, ms: 0, masked: 0, end: false };

/**
 * The session as it is written down: takes frames strictly in order, whatever is sent again, and markers between them. What is
 * secret is masked before anything is written. A frame is acknowledged when all of its bytes are durable, not when it was read.
 */
export class Recording implements Disposable {
  readonly #spool: Spool;
  readonly #options: RecordingOptions;
  readonly #writer: AsciicastWriter;
  readonly #output: TerminalRedactor;
  readonly #input: TerminalRedactor;
  readonly #redaction: Redaction;
  readonly #ignoreRedaction: () => void;
  /** last frame taken; last frame wholly in the lines; last fact (a frame without bytes) in the lines */
  #taken: number;
  #whole: number;
  #fact: number;
  /** frames taken and not whole, with the offsets at which their bytes end */
  #partial: { seq: number; out: number; in: number }[] = [];
  /** masked before this process took over */
  readonly #maskedBefore: number;
  #ended: boolean;
  #durable: { seq: number; out: number; in: number; ended: boolean };
  #proven: { masked: number; gaps: number };
  #heldTimer: NodeJS.Timeout | null = null;
  #gap: Gap | null = null;
  /** session time minus this process's clock, in microseconds; frames correct it */
  #skewUs: number;
  #framesSeen = false;
  #lastUs = 0;
  /** the session's time minus this process's clock when it began; frames do not move it */
  readonly #startSkewUs: number;

  constructor(spool: Spool, options: RecordingOptions) {
    this.#spool = spool;
    this.#options = options;
    const { resumed } = spool;
    const position = resumed?.position ?? START;
    this.#redaction = options.redaction;
    this.#ignoreRedaction = options.redaction.onChange(() => this.#redact());
    const cols = resumed?.cols ?? options.header.cols;
    this.#output = new TerminalRedactor(options.redaction.set, { cols });
    this.#input = new TerminalRedactor(options.redaction.set, { cols });
    this.#maskedBefore = position.masked;
    if (resumed !== null) {
      // What stands before decides what a half token is, and where an escape sequence ends.
      this.#output.prime(resumed.tail.out);
      this.#input.prime(resumed.tail.in);
      this.#maskedBefore -= this.#masked;
    }
    this.#writer = new AsciicastWriter(spool.lines, position);
    this.#taken = position.seq;
    this.#whole = position.seq;
    this.#fact = position.fact;
    this.#ended = position.end;
    const out = position.out + (position.gap ?? 0);
    this.#durable = { seq: position.seq, out, in: position.in, ended: position.end };
    this.#proven = { masked: position.masked, gaps: position.gap ?? 0 };
    this.#startSkewUs = (position.ms + (resumed?.idleMs ?? 0)) * 1000 - clockUs();
    this.#skewUs = this.#startSkewUs;
    spool.begin(() => this.#endBatch());
    if (resumed === null) {
      const title = redactText(options.redaction.set, options.header.title);
      this.#writer.header({ ...options.header, title });
    }
    // Who goes on may know other values than who began.
    if (!this.#ended) {
      spool.lines.append(options.redaction.line);
      spool.commitSoon();
    }
  }

  /** What is safe: the last frame wholly on disk, byte counts (those of a gap count too), and whether the end is. */
  get durable(): { seq: number; out: number; in: number; ended: boolean } {
    return this.#durable;
  }

  /** What of the durable bytes is not as the terminal gave it. */
  get proven(): { masked: number; gaps: number } {
    return this.#proven;
  }

  /** Whether the run has to end for a full spool. What does not fit until then is dropped and stated, but for the exit. */
  get mustStop(): boolean {
    const spool = this.#spool;
    if (spool.isSpent()) return true;
    if (this.#whenFull === "terminate") return this.#gap !== null || spool.isFull;
    // A disk may get room again; a quota does not.
    return this.#whenFull === "block" && spool.isAtQuota;
  }

  get #whenFull(): WhenFull {
    return this.#options.whenFull ?? "block";
  }

  /** Whether its spool has failed: nothing is taken any more. */
  get hasFailed(): boolean {
    return this.#spool.failure !== null;
  }

  /** Whether the exit or an interruption was taken; nothing is written any more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Whether all that was taken is durable but for bytes that wait for what follows them: a value may begin there. */
  get isWaitingForMore(): boolean {
    return this.#heldBytes > 0 && this.#taken > this.#durable.seq && this.#spool.isIdle;
  }

  /** Rings when `durable` changed. */
  get changed(): Wake {
    return this.#spool.grown;
  }

  /** Takes one frame. Throws `BadFrameError`, and takes nothing of it, when one before it is missing or its time cannot be. */
  take(frame: Frame): void {
    // Sent again after a reconnect, and taken before.
    if (frame.seq <= this.#taken) return;
    if (frame.seq !== this.#taken + 1)
      throw new BadFrameError(`Expected frame ${this.#taken + 1}, got ${frame.seq}`);
    if (this.#ended) throw new BadFrameError(`Got frame ${frame.seq} after the end of the session`);
    this.#requireTime(frame.timeUs);
    if ("bytes" in frame) this.#writeBytes(frame);
    else this.#writeFact(frame);
    this.#correctClock(frame.timeUs);
    this.#taken = frame.seq;
    this.#written();
    if (this.#whole < this.#taken) this.changed.ring();
  }

  /** Adds a marker of somebody else than the producer. After the end it is dropped. */
  mark(label: string, timeUs?: number): void {
    if (this.#ended) return;
    const now = this.#nowUs();
    this.#writeMarker(label, Math.min(timeUs ?? now, now));
    this.#written();
  }

  /** Ends the recording without an exit status, and says why. */
  interrupt(cause: string): void {
    if (this.#ended) return;
    const now = this.#nowUs();
    this.#writeRest(now);
    this.#ended = true;
    this.#writeMarker(`recording interrupted: ${cause}`.slice(0, 4096), now);
    this.#written();
  }

  /** Resolves while there is room for more. */
  async room(): Promise<void> {
    await this.#spool.room();
  }

  [Symbol.dispose](): void {
    this.#ignoreRedaction();
    this.#stopHeldTimer();
    this.#gap?.[Symbol.dispose]();
  }

  /** From here on more values are masked, and the recording says so. What was written before stays as it is. */
  #redact(): void {
    const { set, version } = this.#redaction;
    this.#output.use(set);
    this.#input.use(set);
    if (this.#ended) return;
    this.#spool.lines.append(this.#redaction.line);
    this.mark(`redaction set ${version}: more values are masked from here on`);
  }

  #writeBytes(frame: BytesFrame): void {
    const { seq, type, timeUs, offset } = frame;
    const isOutput = type === "output";
    if (!isOutput && !this.#options.recordInput) {
      this.#partial.push({ seq, out: 0, in: 0 });
      return;
    }
    const known = isOutput ? this.#outTaken : this.#inTaken;
    if (offset > known)
      throw new BadFrameError(`Expected ${type} from byte ${known} on, got it from byte ${offset}`);
    const bytes = frame.bytes.subarray(known - offset);
    if (isOutput) this.#writeOutput(this.#output.push(bytes), timeUs);
    else this.#writer.input(this.#input.push(bytes), timeUs);
    // Half a character that is not the one from before has its own 100 ms.
    if (isOutput && bytes.length >= this.#writer.heldBytes) this.#heldTimer?.refresh();
    this.#partial.push({ seq, out: this.#outTaken, in: this.#inTaken });
  }

  /** Output that is masked already: as lines, or, while the spool is full and the policy says so, into the gap. */
  #writeOutput(masked: Buffer, timeUs: number): void {
    const drops = this.#whenFull !== "block" && this.#spool.isFull;
    if (!drops && !this.#spool.isSpent(MAX_ESCAPED * masked.length)) {
      this.#endGap(timeUs);
      this.#writer.output(masked, timeUs);
      return;
    }
    if (masked.length === 0) return;
    this.#gap ??= this.#beginGap(timeUs);
    if (this.#gap.drop(masked)) this.#writeGapPiece();
  }

  #beginGap(timeUs: number): Gap {
    this.#writer.flush(timeUs);
    this.#writeMarker(
      "recording gap: the spool is full, output is not recorded from here on",
      timeUs,
    );
    return new Gap(() => this.#gapOnTime());
  }

  #writeGapPiece(): void {
    const piece = this.#gap?.takePiece() ?? null;
    if (piece !== null) this.#writer.gap(piece);
  }

  #endGap(timeUs: number): void {
    const gap = this.#gap;
    if (gap === null) return;
    this.#writeGapPiece();
    gap[Symbol.dispose]();
    this.#gap = null;
    this.#writeMarker(`recording gap: ${gap.bytes} bytes of output were not recorded`, timeUs);
  }

  /** What was dropped is written down now and then, and the gap ends when there is room, also when nothing more comes. */
  #gapOnTime(): void {
    if (this.#spool.isFull) this.#writeGapPiece();
    else this.#endGap(this.#nowUs());
    this.#written();
  }

  /** Bytes of output and input that were taken, written or not. */
  get #outTaken(): number {
    return this.#outWritten + this.#outHeld;
  }

  /** Bytes of output that lines stand for. */
  get #outWritten(): number {
    return this.#writer.written.out + this.#writer.gapBytes;
  }

  get #outHeld(): number {
    const dropped = this.#gap?.unwrittenBytes ?? 0;
    return this.#writer.heldBytes + this.#output.heldBytes + dropped;
  }

  get #inTaken(): number {
    return this.#writer.written.in + this.#input.heldBytes;
  }

  get #heldBytes(): number {
    return this.#outHeld + this.#input.heldBytes;
  }

  get #masked(): number {
    return this.#maskedBefore + this.#output.maskedBytes + this.#input.maskedBytes;
  }

  #writeMarker(label: string, timeUs: number): void {
    this.#writer.marker(redactText(this.#redaction.set, label), timeUs);
  }

  /** All that is held: nothing follows it. */
  #writeRest(timeUs: number): void {
    this.#writeOutput(this.#output.end(), timeUs);
    this.#endGap(timeUs);
    this.#writer.flush(timeUs);
    this.#writer.input(this.#input.end(), timeUs);
  }

  #writeFact(frame: FactFrame): void {
    const { seq, timeUs } = frame;
    this.#partial.push({ seq, out: 0, in: 0 });
    if (frame.type === "resize") this.#output.resize(frame.cols);
    // Written by the recorder before this one, although a frame before it was not whole.
    if (seq <= this.#fact) return;
    this.#fact = seq;
    switch (frame.type) {
      case "resize":
        this.#writer.resize(frame.cols, frame.rows, timeUs);
        break;
      case "marker":
        this.#writeMarker(frame.label, timeUs);
        break;
      case "exit":
        this.#ended = true;
        this.#writeRest(timeUs);
        this.#writer.exit(frame.status, timeUs);
        break;
    }
  }

  /** Something was taken, and what of it can be said now stands in the spool's lines. */
  #written(): void {
    const before = this.#whole;
    if (this.#heldBytes === 0) {
      this.#whole = this.#taken;
      this.#partial = [];
    } else {
      const out = this.#outWritten;
      const { in: typed } = this.#writer.written;
      const index = this.#partial.findIndex((frame) => frame.out > out || frame.in > typed);
      if (index > 0) this.#whole = this.#partial[index - 1]?.seq ?? this.#whole;
      this.#partial.splice(0, index);
    }
    if (this.#writer.heldBytes === 0) this.#stopHeldTimer();
    else this.#heldTimer ??= setTimeout(() => this.#flushHeld(), this.#options.heldMs ?? HELD_MS);
    // Bytes that only wait change nothing on disk.
    if (this.#spool.lines.length > 0 || this.#whole > before) this.#spool.commitSoon();
  }

  #flushHeld(): void {
    this.#heldTimer = null;
    this.#writer.flush(this.#nowUs());
    this.#written();
  }

  #stopHeldTimer(): void {
    if (this.#heldTimer !== null) clearTimeout(this.#heldTimer);
    this.#heldTimer = null;
  }

  #endBatch(): ReturnType<EndBatch> {
    const frames = {
      seq: this.#whole,
      fact: this.#fact,
      masked: this.#masked,
      end: this.#ended,
    };
    const out = this.#outWritten;
    const gaps = this.#writer.gapBytes;
    const { in: typed } = this.#writer.written;
    this.#writer.position(frames);
    return () => {
      this.#proven = { masked: frames.masked, gaps };
      this.#durable = { seq: frames.seq, out, in: typed, ended: frames.end };
    };
  }

  #requireTime(timeUs: number): void {
    if (timeUs < this.#lastUs)
      throw new BadFrameError(
        `Expected a frame of ${this.#lastUs} us or later, got one of ${timeUs} us: its clock went backwards`,
      );
    const latestUs = clockUs() + this.#startSkewUs + MAX_AHEAD_US;
    if (timeUs > latestUs)
      throw new BadFrameError(
        `Expected a frame of at most ${latestUs} us, an hour ahead of the session, got one of ${timeUs} us`,
      );
  }

  /** The frame that took the shortest way is the best witness of the session's clock. */
  #correctClock(timeUs: number): void {
    this.#lastUs = timeUs;
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
