import timers from "node:timers/promises";
import { CLEAN, Screen } from "../kit/screen.ts";
import type { OutputRing } from "./output-ring.ts";
import type { TerminalSize } from "./pty-session.ts";
import { SequenceScanner } from "../kit/sequence-scanner.ts";
import { answerQueries } from "./terminal-queries.ts";

/** What repaints a screen, and the offset from which the output goes on. */
export interface Snapshot extends TerminalSize {
  offset: number;
  data: string;
}

/** What a person would see: the rows of the screen, top to bottom, the title, and where the cursor stands. */
export interface ScreenView {
  rows: string[];
  title: string;
  /** counted from 0; null when it is not known */
  cursor: { row: number; col: number } | null;
  /** the program marks pastes (mode 2004): what is pasted is not taken for keys; absent when it is not known */
  takesPaste?: boolean;
  /** absent when it is not known */
  cursorHidden?: boolean;
  /** what a cell has behind its character: its colour, in no words for people; absent when it is not known */
  ground?: (row: number, col: number) => string;
  /** the program is in the middle of a frame that it marks (mode 2026); absent when it is not known */
  inFrame?: boolean;
}

export const EMULATOR_LIMITS = {
  sliceBytes: 16 * 1024,
  /** beyond this much unread output the emulator skips to the tail and its screen is approximate */
  backlogBytes: 1536 * 1024,
  tailBytes: 64 * 1024,
  /** beyond this much unread output what follows may wait unmasked: it is more than the emulator reads before it looks again */
  waitBytes: 128 * 1024,
  /** rest between slices while much is waiting, so that the emulator takes a share of the core and not all of it */
  restMs: 4,
  floodBytes: 512 * 1024,
  floodRestMs: 25,
  /** rows above the screen that a viewer can ask for */
  scrollback: 5000,
  /** rows that are serialised at a time; between, the process does its other work */
  historySlice: 200,
  /** cells of such a slice: rows may be wide, and colourful */
  historySliceCells: 24_000,
  /** a snapshot goes in one message over a link that all viewers share: of its history the newest rows, as JSON */
  historyBytes: 4 * 1024 * 1024,
  /** a screen that takes more, as JSON, is painted without its colours */
  screenBytes: 4 * 1024 * 1024,
};

/** What a text takes in a message: an escape character is six bytes there. */
function jsonBytes(text: string): number {
  return Buffer.byteLength(JSON.stringify(text));
}

/**
 * What goes before the tail that a flood is cut to. CAN ends any sequence without acting on it: half of one, joined with the tail, could
 * be a query, and its answer be typed. Modes stay: most programs that flood set none, and keys and screen go by them.
 */
const AFTER_GAP = "\x18\x1b[0m\x1b(B\x0f\x1b[3J\x1b[2J\x1b[H";

/** Output that is not in the ring yet because nobody looks at it. */
export interface WaitingOutput {
  readonly waitingBytes: number;
  showAll(): void;
  /** The last bytes of it at the least. */
  showTail(bytes: number): void;
}

export interface TerminalStateOptions {
  ring: OutputRing;
  /** what comes behind the ring; none unless given */
  waiting?: WaitingOutput;
  size: TerminalSize;
  /** An answer to a query of the program, such as its wish to know the cursor's place. One answer, whole. */
  onReply: (bytes: Buffer) => void;
  /** The screen has taken some more of the output. */
  onAdvance: () => void;
}

/** What an emulator's screen shows. */
export function viewOf({ terminal, title, cursorHidden }: Screen): ScreenView {
  const buffer = terminal.buffer.active;
  const rows: string[] = [];
  for (let row = 0; row < terminal.rows; row++)
    rows.push(buffer.getLine(buffer.baseY + row)?.translateToString(true) ?? "");
  const { bracketedPasteMode, synchronizedOutputMode } = terminal.modes;
  return {
    rows,
    title,
    cursor: { row: buffer.cursorY, col: buffer.cursorX },
    takesPaste: bracketedPasteMode,
    cursorHidden,
    ground(row, col) {
      const cell = buffer.getLine(buffer.baseY + row)?.getCell(col);
      return `${cell?.isInverse()} ${cell?.getBgColorMode()} ${cell?.getBgColor()}`;
    },
    inFrame: synchronizedOutputMode,
  };
}

/** The screen as an emulator sees it, behind the live bytes by little, fed in slices off the hot path. */
export class TerminalState implements Disposable {
  readonly #options: TerminalStateOptions;
  readonly #screen: Screen;
  readonly #scanner = new SequenceScanner();
  readonly #sizes: (TerminalSize & { offset: number })[] = [];
  #parsed = 0;
  #busy = false;
  /** viewers that are given the history: until they have it, nothing is fed, so that it does not move under them */
  #held = 0;
  #timer: NodeJS.Timeout | undefined;
  #approximate = false;
  #cutOff = false;
  #disposed = false;

  constructor(options: TerminalStateOptions) {
    this.#options = options;
    this.#screen = new Screen(options.size, EMULATOR_LIMITS.scrollback);
    this.#screen.terminal.onData((reply) => this.#reply(reply));
    answerQueries(
      this.#screen.terminal,
      (reply) => this.#reply(reply),
      () => this.#screen.keyboardFlags,
    );
  }

  /** True when output was skipped in a flood, so that the screen may differ from the true one. */
  get approximate(): boolean {
    return this.#approximate;
  }

  /** How far the screen is: bytes of output that it shows. */
  get parsedOffset(): number {
    return this.#parsed;
  }

  /** The emulator has enough to read for a while, and will pass over some of it if this goes on. */
  get isFlooded(): boolean {
    return this.#unread > EMULATOR_LIMITS.waitBytes;
  }

  /** There is more to read. */
  wake(): void {
    if (!this.#busy && this.#timer === undefined) this.#feed();
  }

  /** The terminal has another size for all output from now on. */
  resize(size: TerminalSize): void {
    this.#sizes.push({ ...size, offset: this.#options.ring.end });
    if (this.#sizes.length > 1024) this.#sizes.splice(0, 512);
    this.wake();
  }

  /**
   * The screen, the normal one and the alternate one when it is shown. Null while it is too far behind for the stream to go on
   * without a gap; `onAdvance` tells when to ask again.
   */
  snapshot(): Snapshot | null {
    const offset = this.#snapshotOffset();
    return offset === null ? null : this.#snapshotAt(offset, "");
  }

  /**
   * The screen with at most `rows` of history above it, and at most 4 MiB of them, put together in slices, so that nobody waits for it: the terminal is read
   * and recorded meanwhile, only the emulator rests. Null as for `snapshot`, and after the end.
   */
  async snapshotWithHistory(rows: number): Promise<Snapshot | null> {
    this.#held += 1;
    try {
      while (this.#busy) await timers.setImmediate();
      const parts: string[] = [];
      const { historyRows, cols } = this.#screen;
      const slice = Math.ceil(
        Math.min(EMULATOR_LIMITS.historySlice, EMULATOR_LIMITS.historySliceCells / cols),
      );
      let bytes = 0;
      for (let start = Math.max(0, historyRows - rows); start < historyRows;) {
        if (this.#disposed) return null;
        const { text, end } = this.#screen.historyText(start, slice);
        const part = `${text}\x1b[0m\r\n`;
        parts.push(part);
        bytes += jsonBytes(part);
        while (bytes > EMULATOR_LIMITS.historyBytes) bytes -= jsonBytes(parts.shift() ?? "");
        start = end + 1;
        await timers.setImmediate();
      }
      const offset = this.#disposed ? null : this.#snapshotOffset();
      if (offset === null) return null;
      // Newlines move all of the history up and out of the screen.
      if (parts.length > 0) parts.push("\n".repeat(this.#screen.rows - 1), "\x1b[H");
      return this.#snapshotAt(offset, parts.join(""));
    } finally {
      this.#held -= 1;
      if (this.#held === 0) this.wake();
    }
  }

  view(): ScreenView {
    return viewOf(this.#screen);
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    clearTimeout(this.#timer);
    this.#screen[Symbol.dispose]();
  }

  #snapshotOffset(): number | null {
    const { ring } = this.#options;
    // The screen is still that from before the gap.
    if (this.#cutOff) return null;
    // Inside a sequence the stream goes on from its beginning: the emulator has not acted on the part it has.
    const boundary = this.#scanner.boundary;
    const offset = boundary >= ring.start ? boundary : this.#parsed;
    return offset < ring.start ? null : offset;
  }

  #snapshotAt(offset: number, history: string): Snapshot {
    const { title, cols, rows } = this.#screen;
    const whole = this.#screen.text();
    const { screenBytes } = EMULATOR_LIMITS;
    // Twice: both screens.
    const screen = jsonBytes(whole) <= screenBytes ? whole : this.#screen.text(screenBytes / 2);
    const data = CLEAN + (title === "" ? "" : `\x1b]2;${title}\x07`) + history + screen;
    return { offset, cols, rows, data };
  }

  #reply(reply: string): void {
    if (!this.#disposed) this.#options.onReply(Buffer.from(reply, "latin1"));
  }

  #feed(): void {
    const { ring, waiting } = this.#options;
    if (this.#disposed || this.#held > 0) return;
    if (this.#unread > EMULATOR_LIMITS.backlogBytes) this.#skipToTail();
    else if (this.#parsed === ring.end) waiting?.showAll();
    this.#applySizes();
    if (this.#parsed === ring.end) return;
    const nextSize = this.#sizes[0];
    const limit = Math.min(
      EMULATOR_LIMITS.sliceBytes,
      (nextSize?.offset ?? Infinity) - this.#parsed,
    );
    const slice = ring.slice(this.#parsed, limit);
    this.#busy = true;
    if (this.#cutOff) this.#screen.write(AFTER_GAP);
    this.#screen.write(slice, () => this.#fed(slice));
  }

  #fed(slice: Buffer): void {
    this.#busy = false;
    this.#cutOff = false;
    if (this.#disposed) return;
    this.#scanner.push(slice);
    this.#parsed += slice.length;
    this.#applySizes();
    this.#options.onAdvance();
    const unread = this.#unread;
    if (unread === 0) return;
    // In a flood it will skip to the tail anyhow: then the core is for those who must not skip.
    const flood = unread > EMULATOR_LIMITS.floodBytes;
    const rest = flood ? EMULATOR_LIMITS.floodRestMs : EMULATOR_LIMITS.restMs;
    const restMs = unread > EMULATOR_LIMITS.tailBytes ? rest : 0;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#feed();
    }, restMs);
  }

  #applySizes(): void {
    let size = this.#sizes[0];
    while (size !== undefined && size.offset <= this.#parsed) {
      this.#screen.resize(size);
      this.#sizes.shift();
      size = this.#sizes[0];
    }
  }

  /** Output that the screen does not show yet, in the ring and behind it. */
  get #unread(): number {
    const { ring, waiting } = this.#options;
    return ring.end - this.#parsed + (waiting?.waitingBytes ?? 0);
  }

  #skipToTail(): void {
    const { ring, waiting } = this.#options;
    waiting?.showTail(EMULATOR_LIMITS.tailBytes);
    this.#parsed = Math.max(ring.start, ring.end - EMULATOR_LIMITS.tailBytes);
    this.#scanner.startAt(this.#parsed);
    this.#approximate = true;
    this.#cutOff = true;
  }
}
