import { isUtf8 } from "node:buffer";
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
/** Where a frame is not UTF-8, only the pieces that are not pay for it. */
const RAW_PIECE_BYTES = 256;

/**
 * Writes asciicast v3. Every call returns whole lines, to be appended in order. Times are microseconds of a monotonic clock
 * since the start of the session; intervals are rounded against what was written before, so that errors do not add up.
 */
export class AsciicastWriter {
  /** the end of an UTF-8 sequence that has not come yet, at most 3 bytes; a copy, never a view */
  #held: Buffer = Buffer.alloc(0);
  #ms: number;
  #out: number;
  #in: number;
  #gap: number;
  #scratch = Buffer.alloc(64 * 1024);

  /** `resume`: the position at which an existing file ends. */
  constructor(resume: Pick<CastPosition, "out" | "in" | "ms" | "gap"> = { out: 0, in: 0, ms: 0 }) {
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

  header(facts: CastHeaderFacts): Buffer {
    const { cols, rows, timestamp, title, term } = facts;
    const header = {
      version: 3,
      term: { cols, rows, type: term },
      timestamp,
      title,
      env: { TERM: term },
    };
    return Buffer.from(`${JSON.stringify(header)}\n`);
  }

  /** Output as the PTY gave it, cut anywhere. A character that is not complete is held back until it is. */
  output(bytes: Buffer, timeUs: number): Buffer {
    const all = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    const whole = all.length - incompleteTail(all);
    this.#held = Buffer.from(all.subarray(whole));
    this.#out += whole;
    return this.#bytes("o", all.subarray(0, whole), timeUs);
  }

  /** What is held back, as the raw bytes that it is: nothing more is coming, or not soon. */
  flush(timeUs: number): Buffer {
    const held = this.#held;
    this.#held = Buffer.alloc(0);
    this.#out += held.length;
    return this.#bytes("o", held, timeUs);
  }

  /** Input as it was typed. Half a character is kept at once as raw bytes: keys are not held back. */
  input(bytes: Buffer, timeUs: number): Buffer {
    this.#in += bytes.length;
    return this.#bytes("i", bytes, timeUs);
  }

  resize(cols: number, rows: number, timeUs: number): Buffer {
    return this.#text("r", `${cols}x${rows}`, timeUs);
  }

  marker(label: string, timeUs: number): Buffer {
    return this.#text("m", label, timeUs);
  }

  /** `status` is the exit code, or 128+n for a signal. */
  exit(status: number, timeUs: number): Buffer {
    return this.#text("x", String(status), timeUs);
  }

  /** The comment that stands for output which is not recorded. */
  gap(gap: CastGap): Buffer {
    this.#gap += gap.bytes;
    return Buffer.from(`${GAP_PREFIX}${JSON.stringify(gap)}\n`);
  }

  /** The comment that ends a batch. Sizes and time are what `written` says. */
  position(frames: Pick<CastPosition, "seq" | "fact" | "masked" | "end">): Buffer {
    const { seq, fact, masked, end } = frames;
    const gap = this.#gap === 0 ? {} : { gap: this.#gap };
    const position: CastPosition = { seq, fact, ...this.written, masked, ...gap, end };
    return Buffer.from(`${POSITION_PREFIX}${JSON.stringify(position)}\n`);
  }

  #text(code: string, text: string, timeUs: number): Buffer {
    const data = JSON.stringify(text.toWellFormed());
    return Buffer.from(`[${this.#interval(timeUs)}, "${code}", ${data}]\n`);
  }

  #bytes(code: "o" | "i", bytes: Buffer, timeUs: number): Buffer {
    if (bytes.length === 0) return bytes;
    const lines: Buffer[] = [];
    for (const { piece, valid } of piecesOf(bytes))
      lines.push(valid ? this.#utf8(code, piece, timeUs) : this.#raw(code, piece, timeUs));
    const [only] = lines;
    return lines.length === 1 && only !== undefined ? only : Buffer.concat(lines);
  }

  #utf8(code: string, bytes: Buffer, timeUs: number): Buffer {
    const head = `[${this.#interval(timeUs)}, "${code}", "`;
    const most = head.length + MAX_ESCAPED * bytes.length + 3;
    if (this.#scratch.length < most) this.#scratch = Buffer.alloc(most);
    const start = this.#scratch.write(head, 0, "latin1");
    const end = writeJsonText(bytes, this.#scratch, start);
    return Buffer.from(this.#scratch.subarray(0, end + this.#scratch.write('"]\n', end, "latin1")));
  }

  #raw(code: string, bytes: Buffer, timeUs: number): Buffer {
    const text = JSON.stringify(bytes.toString("utf8"));
    const raw = `${RAW_PREFIX}${bytes.toString("base64")}\n`;
    return Buffer.from(`${raw}[${this.#interval(timeUs)}, "${code}", ${text}]\n`);
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

/** Cuts between characters where there are any: runs of valid UTF-8, and runs that are not, each of bounded size. */
function* piecesOf(bytes: Buffer): Generator<{ piece: Buffer; valid: boolean }> {
  if (bytes.length <= MAX_EVENT_BYTES && isUtf8(bytes)) {
    yield { piece: bytes, valid: true };
    return;
  }
  let from = 0;
  let to = 0;
  let valid = true;
  while (to < bytes.length) {
    const next = cutBefore(bytes, Math.min(to + RAW_PIECE_BYTES, bytes.length));
    const nextValid = isUtf8(bytes.subarray(to, next));
    if (to > from && (nextValid !== valid || next - from > MAX_EVENT_BYTES)) {
      yield { piece: bytes.subarray(from, to), valid };
      from = to;
    }
    valid = nextValid;
    to = next;
  }
  if (to > from) yield { piece: bytes.subarray(from, to), valid };
}

/** The last place at or before `at`, at most 3 bytes back, that is not inside a character. */
function cutBefore(bytes: Buffer, at: number): number {
  if (at === bytes.length) return at;
  for (let cut = at; cut > at - 4; cut -= 1)
    if (((bytes[cut] as number) & 0xc0) !== 0x80) return cut;
  return at;
}
