import { nextState } from "./redaction-set.ts";
import type { Begun, RedactionSet } from "./redaction-set.ts";
import { ShapeRun } from "./shape-run.ts";
import { ShownBytes } from "./shown-bytes.ts";
import { C1_LEAD, REPEAT, TerminalText } from "./terminal-text.ts";

const MASK = 0x2a;
const ESC = 0x1b;
/** Bytes that were given out and are kept: what stands before a beginning, what a backspace takes back. */
const CONTEXT_BYTES = 256;
/** A backspace looks at so many bytes before it. */
const ERASE_BYTES = 64;
/** What is still alive after so many bytes is given out as far as it is known. */
const MAX_HELD_BYTES = 64 * 1024;
/** Of a value that has controls between its characters, so many may show: a line would else wait for the one after it. */
const LEAST_IN_TEXT = 4;
const MAX_RUNS = 32;

export interface TerminalRedactorOptions {
  cols: number;
  /** a match of fewer bytes that may still grow is shown at once, and only its rest masked: echo must not wait */
  showBelow?: number;
  /** bytes that there is room for at first, by default some for a stream; it grows */
  roomBytes?: number;
}

/**
 * Masks known values and tokens in a terminal's output, in any rendering and across any split, and holds back only what may still become a
 * match. It looks twice: at the bytes as they are (also inside titles, links and clipboard strings), and at what the screen shows of them,
 * without colours, wraps and corrections. Each masked byte becomes `*`, so every offset stays what it was.
 */
export class TerminalRedactor {
  readonly #showBelow: number;
  readonly #screen: TerminalText;
  #set: RedactionSet;
  /** context, then what is held, then what was given with the last push until the next one */
  #bytes: Buffer;
  /** by position: 1 for a byte that the screen shows */
  #shown: Uint8Array<ArrayBuffer>;
  /** the same of what was read, to look back in */
  readonly #seen = new ShownBytes();
  /** by position: 1 for a byte that is to be masked */
  #marks: Uint8Array<ArrayBuffer>;
  #length = 0;
  /** from here on nothing was given out */
  #start = 0;
  /** offset in the stream of position 0 */
  #offset = 0;
  #raw = 0;
  #text = 0;
  /** the last byte may be the first of a control, or text: the next one decides */
  #hasLead = false;
  #runs: ShapeRun[] = [];
  /** matches as they were found, joined where they overlap */
  #extents: { from: number; to: number }[] = [];
  /** the marks that were not given out yet lie between these */
  #markedFrom = Infinity;
  #markedTo = 0;
  #masked = 0;

  constructor(set: RedactionSet, options: TerminalRedactorOptions) {
    const room = options.roomBytes ?? 16 * 1024;
    this.#bytes = Buffer.allocUnsafeSlow(room);
    this.#shown = new Uint8Array(room);
    this.#marks = new Uint8Array(room);
    this.#set = set;
    this.#showBelow = options.showBelow ?? 0;
    this.#screen = new TerminalText(options.cols);
  }

  /** How many bytes were masked and given out so far. */
  get maskedBytes(): number {
    return this.#masked;
  }

  get heldBytes(): number {
    return this.#length - this.#start;
  }

  /** The terminal's width, where lines wrap. */
  resize(cols: number): void {
    this.#screen.cols = cols;
  }

  /** Takes the next bytes, gives those that are decided: a view, good until the next call. The chunk is not changed. */
  push(chunk: Buffer): Buffer {
    this.#makeRoom(chunk.length);
    const from = this.#length;
    chunk.copy(this.#bytes, from);
    this.#length += chunk.length;
    this.#shown.fill(1, from, this.#length);
    this.#marks.fill(0, from, this.#length);
    this.#scan(from);
    return this.#give(this.#decided());
  }

  /** Takes what another redactor gave out before: what comes next goes on from there. */
  prime(given: Buffer): void {
    this.push(given);
    this.#give(this.#length);
  }

  /** Gives all that was held back, at the end of the stream or of a part of it. */
  end(): Buffer {
    this.#makeRoom(0);
    this.#finishRuns();
    this.#raw = 0;
    this.#text = 0;
    return this.#give(this.#length);
  }

  /** From here on another set counts, also for what is held. */
  use(set: RedactionSet): void {
    this.#set = set;
    this.#raw = 0;
    this.#text = 0;
    this.#seen.clear();
    for (let at = 0; at < this.#length; at += 1) {
      const byte = this.#bytes[at] as number;
      this.#raw = nextState(set.automaton, this.#raw, byte);
      this.#maskForms(this.#raw, at + 1, false);
      if (this.#shown[at] !== 1) continue;
      this.#see(at, at + 1);
      this.#text = nextState(set.automaton, this.#text, byte);
      this.#maskForms(this.#text, at + 1, true);
    }
  }

  #scan(from: number): void {
    const end = this.#length;
    for (let at = from; at < end;) {
      if (this.#runs.length > 0 || !this.#screen.isGround) {
        this.#step(at);
        at += 1;
        continue;
      }
      if (this.#raw === this.#text) at = this.#scanText(at, end);
      if (at < end && this.#runs.length === 0) at = this.#stepOver(at, end);
    }
  }

  /** Text that looks the same to both looks: one step of the automaton serves both. Gives where it ends. */
  #scanText(from: number, end: number): number {
    const { hit, pairs } = this.#set;
    const { dense, denseCount, chainByte, chainNext, fail } = this.#set.automaton;
    const bytes = this.#bytes;
    let state = this.#raw;
    let at = from;
    for (; at < end; at += 1) {
      if (state === 0) {
        // Nothing is alive: on to the next two bytes that something may begin with.
        let pair = bytes[at] as number;
        for (at += 1; at < end; at += 1) {
          pair = ((pair & 0xff) << 8) | (bytes[at] as number);
          if (pairs[pair] !== 0) break;
        }
        at -= 1;
      }
      const byte = bytes[at] as number;
      if (byte < 0x20 || (byte === C1_LEAD && isControlLead(bytes, at, end))) break;
      while (state >= denseCount && chainByte[state] !== byte) state = fail[state] as number;
      state = (state >= denseCount ? chainNext[state] : dense[(state << 8) | byte]) as number;
      if (hit[state] === 0) continue;
      at += 1;
      this.#raw = state;
      this.#text = state;
      this.#see(from, at);
      this.#found(state, at, false);
      this.#found(state, at, true);
      return at;
    }
    this.#raw = state;
    this.#text = state;
    this.#see(from, at);
    return at;
  }

  /** A whole control sequence, which is most of what is not text; else one byte. */
  #stepOver(from: number, end: number): number {
    const bytes = this.#bytes;
    if (bytes[from] === ESC && bytes[from + 1] === 0x5b) {
      let last = from + 2;
      while (last < end && ((bytes[last] as number) & 0xe0) === 0x20) last += 1;
      if (last < end && (bytes[last] as number) >= 0x40 && bytes[last] !== REPEAT) {
        const { automaton, hit } = this.#set;
        for (let at = from; at <= last; at += 1) {
          this.#shown[at] = 0;
          this.#raw = nextState(automaton, this.#raw, bytes[at] as number);
          if (hit[this.#raw] === 1) this.#found(this.#raw, at + 1, false);
        }
        this.#screen.sequence(bytes, from, last + 1, this.#offset + from);
        return last + 1;
      }
    }
    this.#step(from);
    return from + 1;
  }

  /** One byte, for each look by itself. */
  #step(at: number): void {
    const { automaton, hit } = this.#set;
    const byte = this.#bytes[at] as number;
    if (this.#runs.length > 0) this.#feed(byte, at, false);
    this.#raw = nextState(automaton, this.#raw, byte);
    if (hit[this.#raw] === 1) this.#found(this.#raw, at + 1, false);
    const role = this.#screen.read(byte, this.#offset + at);
    if (this.#hasLead) {
      this.#hasLead = false;
      if (this.#screen.isControl) this.#shown[at - 1] = 0;
      else this.#readText(C1_LEAD, at - 1);
    }
    if (role === "text") return this.#readText(byte, at);
    if (role === "lead") {
      this.#hasLead = true;
      return;
    }
    this.#shown[at] = 0;
    if (role === "erase") this.#erase();
    else if (role === "repeat") this.#repeat(at);
    else if (this.#runs.length > 0 && (role === "break" || byte === 10))
      this.#breakText(at, role === "break");
  }

  #readText(byte: number, at: number): void {
    const { automaton, hit } = this.#set;
    this.#see(at, at + 1);
    if (this.#runs.length > 0) this.#feed(byte, at, true);
    this.#text = nextState(automaton, this.#text, byte);
    if (hit[this.#text] === 1) this.#found(this.#text, at + 1, true);
  }

  /**
   * The screen has the last character some times more, and no bytes for it: once the character is masked, so are they. What is found
   * counts them as bytes, and reaches so much further back.
   */
  #repeat(at: number): void {
    const offset = this.#seen.back(1);
    if (offset === null) return;
    const byte = this.#bytes[offset - this.#offset] as number;
    const { automaton, hit } = this.#set;
    for (let count = 0; count < this.#screen.repeats; count += 1) {
      if (this.#runs.length > 0) this.#feed(byte, at, true);
      this.#text = nextState(automaton, this.#text, byte);
      if (hit[this.#text] === 1) this.#found(this.#text, at + 1, true);
      else if (this.#text === 0 && this.#runs.length === 0) return;
    }
  }

  /** The screen's text goes on elsewhere: tokens end there, except those that span lines. */
  #breakText(at: number, isBreak: boolean): void {
    for (const run of this.#runs) {
      if (!run.inText) continue;
      if (run.shape.block) this.#take(run, 10, at);
      else if (isBreak) this.#take(run, -1, at);
    }
    this.#dropEnded();
  }

  /** A backspace: the state is what it would be without the character before it. */
  #erase(): void {
    const offset = this.#seen.pop();
    if (offset === null) return;
    const last = offset - this.#offset;
    this.#shown[last] = 0;
    this.#text = 0;
    const { automaton } = this.#set;
    for (let index = Math.max(0, last - ERASE_BYTES); index < last; index += 1)
      if (this.#shown[index] === 1)
        this.#text = nextState(automaton, this.#text, this.#bytes[index] as number);
  }

  /** Something ends at `end`. */
  #found(state: number, end: number, inText: boolean): void {
    this.#maskForms(state, end, inText);
    const { begun, automaton } = this.#set;
    for (let at = state; at !== 0; at = automaton.fail[at] as number)
      for (const beginning of begun.get(at) ?? []) this.#begin(beginning, end, inText);
  }

  #begin({ shape, length }: Begun, end: number, inText: boolean): void {
    if (this.#runs.length >= MAX_RUNS) return;
    const before = shape.standsAlone ? this.#back(end, length + 1, inText) : null;
    // An escape sequence may end in a letter, which is no part of a word.
    if (before !== null && this.#shown[before] === 1 && isWord(this.#bytes[before] as number))
      return;
    const start = this.#back(end, length, inText) ?? 0;
    this.#runs.push(new ShapeRun(shape, start, inText));
  }

  #feed(byte: number, at: number, inText: boolean): void {
    for (const run of this.#runs) if (run.inText === inText) this.#take(run, byte, at);
    this.#dropEnded();
  }

  readonly #over = new Set<ShapeRun>();

  #take(run: ShapeRun, byte: number, at: number): void {
    const wasOverlong = run.isOverlong;
    const step = byte === -1 ? (run.isLongEnough ? "ended" : "none") : run.take(byte, at);
    if (step !== "alive") {
      this.#over.add(run);
      if (step === "ended" && !run.isOverlong) this.#maskRun(run, at);
    } else if (run.isOverlong) {
      this.#maskRunBytes(run, wasOverlong ? at : run.body, at + 1);
    }
  }

  #dropEnded(): void {
    if (this.#over.size === 0) return;
    this.#runs = this.#runs.filter((run) => !this.#over.has(run));
    this.#over.clear();
  }

  #finishRuns(): void {
    for (const run of this.#runs)
      if (run.isLongEnough && !run.isOverlong) this.#maskRun(run, this.#length);
    this.#runs = [];
  }

  #maskRun(run: ShapeRun, end: number): void {
    const { accepts } = run.shape;
    if (accepts !== null && !accepts(this.#textOf(run, end))) return;
    this.#maskRunBytes(run, run.body, end);
    this.#join(run.start, end);
  }

  #textOf(run: ShapeRun, end: number): string {
    const body = this.#bytes.subarray(run.body, end);
    const shown = run.inText ? body.filter((_, at) => this.#shown[run.body + at] === 1) : body;
    return Buffer.from(shown).toString("latin1");
  }

  #maskRunBytes(run: ShapeRun, from: number, to: number): void {
    for (let at = Math.max(from, 0); at < to; at += 1)
      if ((!run.inText || this.#shown[at] === 1) && run.masks(this.#bytes[at] as number))
        this.#mark(at);
  }

  #mark(at: number): void {
    this.#marks[at] = 1;
    this.#markedFrom = Math.min(this.#markedFrom, at);
    this.#markedTo = Math.max(this.#markedTo, at + 1);
  }

  /** Marks the longest form of a known value that ends before `end`. */
  #maskForms(state: number, end: number, inText: boolean): void {
    const length = this.#set.formLength[state] as number;
    if (length === 0) return;
    const from = this.#back(end, length, inText) ?? 0;
    if (inText) this.#seen.each(this.#offset + from, (at) => this.#mark(at - this.#offset));
    else for (let at = from; at < end; at += 1) this.#mark(at);
    this.#join(from, end);
  }

  #join(from: number, to: number): void {
    let joined = from;
    for (let last = this.#extents.at(-1); last !== undefined; last = this.#extents.at(-1)) {
      if (last.to <= joined) break;
      joined = Math.min(joined, last.from);
      this.#extents.pop();
    }
    this.#extents.push({ from: joined, to });
  }

  /** These bytes were read as text. */
  #see(from: number, to: number): void {
    this.#seen.push(this.#offset + from, this.#offset + to);
  }

  /** The position of the byte that stands `count` before `end`, where reading is; null when it is older than what is kept. */
  #back(end: number, count: number, inText: boolean): number | null {
    if (!inText) return end >= count ? end - count : null;
    const offset = this.#seen.back(count);
    return offset === null ? null : offset - this.#offset;
  }

  /** The position from which on something may still become a match. */
  #decided(): number {
    const { aliveLength } = this.#set;
    const end = this.#length;
    let from = end - (aliveLength[this.#raw] as number);
    const inText = aliveLength[this.#text] as number;
    if (inText > 0) {
      const first = this.#back(end, inText, true) ?? 0;
      if (first === end - inText || inText >= LEAST_IN_TEXT) from = Math.min(from, first);
    }
    for (const run of this.#runs) if (!run.isOverlong) from = Math.min(from, run.start);
    // A match is given out whole: who starts again behind it would not know its end for what it is.
    for (let index = this.#extents.length - 1; index >= 0; index -= 1) {
      const extent = this.#extents[index] as { from: number; to: number };
      if (extent.to <= from) break;
      from = Math.min(from, extent.from);
    }
    if (end - from < this.#showBelow) return end;
    from = Math.max(from, this.#start);
    if (end - from <= MAX_HELD_BYTES) return from;
    this.#finishRuns();
    return end;
  }

  #give(to: number): Buffer {
    const from = this.#start;
    // Ordinary output is not looked at again.
    const end = Math.min(to, this.#markedTo);
    for (let at = Math.max(from, this.#markedFrom); at < end; at += 1) this.#maskAt(at);
    if (to >= this.#markedTo) this.#markedFrom = Infinity;
    this.#extents = this.#extents.filter((extent) => extent.to > to);
    this.#start = to;
    return this.#bytes.subarray(from, to);
  }

  #maskAt(at: number): void {
    if (this.#marks[at] !== 1) return;
    this.#marks[at] = 0;
    this.#bytes[at] = MASK;
    this.#masked += 1;
  }

  /** Drops what was given out but for the context, and makes place for more. */
  #makeRoom(bytes: number): void {
    const drop = Math.max(0, this.#start - CONTEXT_BYTES);
    if (drop > 0) this.#drop(drop);
    const needed = this.#length + bytes;
    if (needed <= this.#bytes.length) return;
    const size = Math.max(needed, 2 * this.#bytes.length);
    const larger = Buffer.allocUnsafeSlow(size);
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
    this.#shown = resized(this.#shown, size, this.#length);
    this.#marks = resized(this.#marks, size, this.#length);
  }

  #drop(count: number): void {
    this.#bytes.copyWithin(0, count, this.#length);
    this.#shown.copyWithin(0, count, this.#length);
    this.#marks.copyWithin(0, count, this.#length);
    this.#length -= count;
    this.#markedFrom -= count;
    this.#markedTo -= count;
    this.#start -= count;
    this.#offset += count;
    this.#seen.drop(this.#offset);
    for (const run of this.#runs) {
      run.start = Math.max(0, run.start - count);
      // -1 is before the first byte of the body, and stays so.
      if (run.body !== -1) run.body = Math.max(0, run.body - count);
    }
    for (const extent of this.#extents) {
      extent.from = Math.max(0, extent.from - count);
      extent.to -= count;
    }
  }
}

function resized(from: Uint8Array, size: number, length: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(size);
  larger.set(from.subarray(0, length));
  return larger;
}

/** Whether the byte at `at` begins a control of two bytes, as far as it can be told. */
function isControlLead(bytes: Buffer, at: number, end: number): boolean {
  return at + 1 === end || ((bytes[at + 1] as number) & 0xe0) === 0x80;
}

function isWord(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x5f ||
    byte === 0x2d
  );
}
