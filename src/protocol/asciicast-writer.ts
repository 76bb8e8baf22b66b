import { isUtf8 } from "node:buffer";
import type { BatchBuffer } from "../kit/batch-buffer.ts";
import { GAP_PREFIX, POSITION_PREFIX, RAW_PREFIX } from "./asciicast.ts";
import type { CastGap, CastPosition } from "./asciicast.ts";
import { MAX_ESCAPED, writeJsonText } from "./json-bytes.ts";

/** What the first line of a recording says. Never the command line or the environment: both may hold secrets. */
export interface CastHeaderFacts {
  cols: number;
  rows: number;
  /** seconds since 1970; the only wall clock in a recording */
  timestamp: number;
  title: string;
  term: string;
}

/** One event holds at most this many bytes, so that readers' lines stay short. */
const MAX_EVENT_BYTES = 64 * 1024;
/** Of what is not UTF-8, so much is written as raw bytes before text is looked for again. */
const RAW_PIECE_BYTES = 256;
const NOTHING = Buffer.alloc(0);
const NO_INTERVAL = "0.000";
const TAIL = '"]\n';

/**
 * Writes asciicast v3. Every call appends whole lines to the batch. Times are microseconds of a monotonic clock
 * since the start of the session; intervals are rounded against what was written before, so that errors do not add up.
 */
export class AsciicastWriter {
  readonly #lines: BatchBuffer;
  /** the end of an UTF-8 sequence that has not come yet, at most 3 bytes; a copy, never a view */
  #held: Buffer = NOTHING;
  #ms: number;
  #out: number;
  #in: number;
  #gap: number;

  /** `resume`: the position at which an existing file ends. */
  constructor(
    lines: BatchBuffer,
    resume: Pick<CastPosition, "out" | "in" | "ms" | "gap"> = { out: 0, in: 0, ms: 0 },
  ) {
    this.#lines = lines;
    this.#ms = resume.ms;
    this.#out = resume.out;
    this.#in = resume.in;
    this.#gap = resume.gap ?? 0;
  }

  /** Bytes of output that no line holds yet. */
  get heldBytes(): number {
    return this.#held.length;
  }

  /** Bytes of output and input in the lines given out so far, and the time of the last one. */
  get written(): { out: number; in: number; ms: number } {
    return { out: this.#out, in: this.#in, ms: this.#ms };
  }

  /** Bytes of output that `gap` lines stand for. */
  get gapBytes(): number {
    return this.#gap;
  }

  header(facts: CastHeaderFacts): void {
    const { cols, rows, timestamp, title, term } = facts;
    const header = {
      version: 3,
      term: { cols, rows, type: term },
      timestamp,
      title,
      env: { TERM: term },
    };
    this.#lines.appendText(`${JSON.stringify(header)}\n`);
  }

  /** Output as the PTY gave it, cut anywhere. A character that is not complete is held back until it is. */
  output(bytes: Buffer, timeUs: number): void {
    const all = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    const whole = all.length - incompleteTail(all);
    this.#held = whole === all.length ? NOTHING : Buffer.from(all.subarray(whole));
    this.#out += whole;
    this.#bytes("o", all.subarray(0, whole), timeUs);
  }

  /** What is held back, as the raw bytes that it is: nothing more is coming, or not soon. */
  flush(timeUs: number): void {
    const held = this.#held;
    this.#held = NOTHING;
    this.#out += held.length;
    this.#bytes("o", held, timeUs);
  }

  /** Input as it was typed. Half a character is kept at once as raw bytes: keys are not held back. */
  input(bytes: Buffer, timeUs: number): void {
    this.#in += bytes.length;
    this.#bytes("i", bytes, timeUs);
  }

  resize(cols: number, rows: number, timeUs: number): void {
    this.#text("r", `${cols}x${rows}`, timeUs);
  }

  marker(label: string, timeUs: number): void {
    this.#text("m", label, timeUs);
  }

  /** `status` is the exit code, or 128+n for a signal. */
  exit(status: number, timeUs: number): void {
    this.#text("x", String(status), timeUs);
  }

  /** The comment that stands for output which is not recorded. */
  gap(gap: CastGap): void {
    this.#gap += gap.bytes;
    this.#lines.appendText(`${GAP_PREFIX}${JSON.stringify(gap)}\n`);
  }

  /** The comment that ends a batch. Sizes and time are what `written` says. */
  position(frames: Pick<CastPosition, "seq" | "fact" | "masked" | "end">): void {
    const { seq, fact, masked, end } = frames;
    const gap = this.#gap === 0 ? {} : { gap: this.#gap };
    const position: CastPosition = { seq, fact, ...this.written, masked, ...gap, end };
    this.#lines.appendText(`${POSITION_PREFIX}${JSON.stringify(position)}\n`);
  }

  #text(code: string, text: string, timeUs: number): void {
    const data = JSON.stringify(text.toWellFormed());
    this.#lines.appendText(`[${this.#interval(timeUs)}, "${code}", ${data}]\n`);
  }

  /** Text for as long as it is UTF-8, then a piece of what is not, and so on. */
  #bytes(code: "o" | "i", bytes: Buffer, timeUs: number): void {
    if (bytes.length === 0) return;
    let interval = this.#interval(timeUs);
    for (let from = 0; from < bytes.length;) {
      const piece = bytes.subarray(from, cutBefore(bytes, from + MAX_EVENT_BYTES));
      const read = this.#utf8(code, piece, interval);
      from += read > 0 ? read : this.#raw(code, piece, interval);
      interval = NO_INTERVAL;
    }
  }

  /** Writes the bytes that are UTF-8, straight into the batch; gives how many they are, and for none writes nothing. */
  #utf8(code: string, bytes: Buffer, interval: string): number {
    const head = `[${interval}, "${code}", "`;
    const start = this.#lines.length;
    const memory = this.#lines.room(head.length + MAX_ESCAPED * bytes.length + TAIL.length);
    const text = start + memory.write(head, start, "latin1");
    const { read, written } = writeJsonText(bytes, memory, text);
    if (read > 0) this.#lines.grow(written + memory.write(TAIL, written, "latin1") - start);
    return read;
  }

  /** Writes the bytes up to where there is text again; gives how many they are. */
  #raw(code: string, bytes: Buffer, interval: string): number {
    let to = 0;
    let next = cutBefore(bytes, RAW_PIECE_BYTES);
    do {
      to = next;
      next = cutBefore(bytes, to + RAW_PIECE_BYTES);
    } while (!isUtf8(bytes.subarray(to, next)));
    const raw = bytes.subarray(0, to);
    const text = JSON.stringify(raw.toString("utf8"));
    this.#lines.appendText(
      `${RAW_PREFIX}${raw.toString("base64")}\n[${interval}, "${code}", ${text}]\n`,
    );
    return to;
  }

  /** Seconds since the event before, three decimals. A clock that went backwards counts as one that stood still. */
  #interval(timeUs: number): string {
    const ms = Math.max(this.#ms, Math.round(timeUs / 1000));
    const interval = ms - this.#ms;
    this.#ms = ms;
    return (interval / 1000).toFixed(3);
  }
}

/** How many bytes at the end begin an UTF-8 sequence that is not complete: 0 to 3. */
export function incompleteTail(bytes: Buffer): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back += 1) {
    const byte = bytes[bytes.length - back] as number;
    if (byte < 0x80) return 0;
    if (byte < 0xc0) continue;
    const needed = byte < 0xc2 || byte > 0xf4 ? 0 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    return needed > back ? back : 0;
  }
  return 0;
}

/** The last place at or before `at`, at most 3 bytes back, that is not inside a character. */
function cutBefore(bytes: Buffer, at: number): number {
  if (at >= bytes.length) return bytes.length;
  for (let cut = at; cut > at - 4; cut -= 1)
    if (((bytes[cut] as number) & 0xc0) !== 0x80) return cut;
  return at;
}
