import { closeSync } from "node:fs";
import { constants } from "node:os";
import type { Watcher } from "../kit/native.ts";
import { native } from "../kit/native.ts";
import type { ProgramExit } from "../kit/init-channel.ts";
import type { StartedProgram } from "../kit/started-programs.ts";
import { InputQueue } from "./input-queue.ts";

/** A size of a terminal in cells, each at least 1. */
export interface TerminalSize {
  cols: number;
  rows: number;
}

/** How a program and its terminal ended. `terminalHeld`: a process that it left behind still had the terminal open. */
export interface PtyEnd {
  exit: ProgramExit;
  terminalHeld: boolean;
}

export interface PtySessionOptions {
  program: StartedProgram;
  size: TerminalSize;
  /** Bytes as the terminal gave them, at most 64 KiB, in order. The buffer is reused: copy what is to stay. */
  onOutput: (bytes: Buffer) => void;
  /** Input that was not typed: the program reads lines and this one is longer than a terminal's line can be. */
  onRefusedInput: (bytes: number) => void;
  limits?: Partial<typeof PTY_LIMITS>;
}

export const PTY_LIMITS = {
  readBytes: 64 * 1024,
  readsPerWakeUp: 4,
  inputQueueBytes: 1024 * 1024,
  /** after the exit: how long the terminal must be silent when somebody else still holds it */
  quietMs: 50,
  /** after the exit: how long output of processes left behind is still read */
  drainMs: 2000,
  /** how soon a terminal that nobody has open is looked at again; a program may open /dev/tty anew */
  hungUpMs: 100,
};

const WRITES_PER_WAKE_UP = 16;
const { EAGAIN, EINTR } = constants.errno;

/** One program on one PTY. It ends after its last byte was handed on, never before, however long it was paused. */
export class PtySession {
  /** Settles once, after the last byte of output, and never rejects. */
  readonly ended: Promise<PtyEnd>;
  readonly pid: number;
  /** Some of what was queued has been typed: there is room again. */
  onTyped: () => void = () => {};
  readonly #options: PtySessionOptions;
  readonly #limits: typeof PTY_LIMITS;
  readonly #master: number;
  readonly #watcher: Watcher;
  readonly #scratch: Buffer;
  readonly #input: InputQueue;
  readonly #settle: (end: PtyEnd) => void;
  #size: TerminalSize;
  #paused = false;
  #hungUp = false;
  #closed = false;
  #exit: ProgramExit | undefined;
  #quietTimer: NodeJS.Timeout | undefined;
  #drainTimer: NodeJS.Timeout | undefined;
  #hungUpTimer: NodeJS.Timeout | undefined;

  constructor(options: PtySessionOptions) {
    const { promise, resolve } = Promise.withResolvers<PtyEnd>();
    this.ended = promise;
    this.#settle = resolve;
    this.#options = options;
    this.#limits = { ...PTY_LIMITS, ...options.limits };
    this.pid = options.program.pid;
    this.#master = options.program.master;
    this.#size = options.size;
    this.#scratch = Buffer.allocUnsafeSlow(this.#limits.readBytes);
    this.#input = new InputQueue(this.#limits.inputQueueBytes, options.onRefusedInput);
    this.#watcher = new (native().Watcher)(this.#master, (events) => this.#wake(events));
    this.#watch();
    void options.program.exited.then((exit) => this.#programEnded(exit));
  }

  get size(): TerminalSize {
    return this.#size;
  }

  /** The foreground process group of the terminal, as this process sees it; 0 when there is none. */
  get foregroundGroup(): number {
    return this.#closed ? 0 : native().foregroundGroup(this.#master);
  }

  /** The terminal edits lines; a program with a screen of its own turns that off. */
  get isLineMode(): boolean {
    return !this.#closed && native().terminalFlags(this.#master).canonical;
  }

  /** Continues the program, if something has stopped it. */
  wake(): void {
    this.#options.program.signal(constants.signals.SIGCONT);
  }

  /** True once the program has read all that was typed. */
  get hasReadInput(): boolean {
    if (this.#closed || this.#exit !== undefined) return true;
    return this.#input.bytes === 0 && native().unreadInput(this.#master) === 0;
  }

  /** So many bytes more would be taken. */
  hasRoom(bytes: number): boolean {
    return this.#input.bytes + bytes <= this.#limits.inputQueueBytes;
  }

  /** Queues bytes to be typed, whole or not at all. False when the queue is full: the program does not read. */
  write(bytes: Buffer): boolean {
    if (this.#closed || this.#exit !== undefined) return true;
    if (!this.#input.push(bytes)) return false;
    this.#type();
    this.#watch();
    return true;
  }

  /** True when the size is new; the program then has SIGWINCH. */
  resize(size: TerminalSize): boolean {
    const isNew = size.cols !== this.#size.cols || size.rows !== this.#size.rows;
    if (this.#closed || !isNew || size.cols < 1 || size.rows < 1) return false;
    this.#size = { cols: size.cols, rows: size.rows };
    native().setWindowSize(this.#master, size.cols, size.rows);
    return true;
  }

  /** Stops reading; the program blocks once the terminal is full. Nothing is lost, not even at its exit. */
  pause(): void {
    if (this.#paused || this.#closed) return;
    this.#paused = true;
    clearTimeout(this.#quietTimer);
    clearTimeout(this.#drainTimer);
    this.#quietTimer = undefined;
    this.#watch();
  }

  resume(): void {
    if (!this.#paused || this.#closed) return;
    this.#paused = false;
    if (this.#exit !== undefined) this.#drain();
    this.#watch();
  }

  /** Gives up what was not read yet, because nobody can take it. Safe to call twice. */
  abandon(): void {
    this.#finish(this.#exit ?? { kind: "lost" }, false);
  }

  #wake(events: number): void {
    if (this.#closed) return;
    if ((events & 2) !== 0) this.#type();
    if ((events & 1) !== 0 && !this.#paused) this.#read();
    this.#watch();
  }

  #watch(): void {
    if (this.#closed) return;
    const reads = this.#paused || this.#hungUp ? 0 : 1;
    this.#watcher.watch(reads | (this.#input.bytes > 0 ? 2 : 0));
  }

  /** Linux gives about 4 KiB a read: several reads make one chunk, and several chunks one wake-up. */
  #read(): void {
    for (let chunk = 0; chunk < this.#limits.readsPerWakeUp && !this.#paused; chunk++) {
      let filled = 0;
      let count = 0;
      while (filled < this.#scratch.length) {
        count = native().read(this.#master, this.#scratch, filled, this.#scratch.length - filled);
        if (count === -EINTR) continue;
        if (count <= 0) break;
        filled += count;
      }
      if (filled > 0) {
        this.#hungUp = false;
        clearTimeout(this.#quietTimer);
        this.#quietTimer = undefined;
        this.#options.onOutput(this.#scratch.subarray(0, filled));
        if (this.#closed) return;
      }
      if (count === -EAGAIN) {
        this.#nothingToRead();
        return;
      }
      if (count <= 0) {
        this.#nobodyHasIt();
        return;
      }
    }
  }

  /** EAGAIN after the exit: somebody else still has the terminal open, so its end (EIO) may never come. */
  #nothingToRead(): void {
    this.#hungUp = false;
    if (this.#exit === undefined || this.#paused || this.#quietTimer !== undefined) return;
    const exit = this.#exit;
    this.#quietTimer = setTimeout(() => this.#finish(exit, true), this.#limits.quietMs);
  }

  /** EIO: every slave descriptor is closed and everything was read. Final only when the program is gone. */
  #nobodyHasIt(): void {
    if (this.#exit !== undefined) {
      this.#finish(this.#exit, false);
      return;
    }
    this.#hungUp = true;
    clearTimeout(this.#hungUpTimer);
    this.#hungUpTimer = setTimeout(() => {
      this.#hungUp = false;
      this.#watch();
    }, this.#limits.hungUpMs);
  }

  #programEnded(exit: ProgramExit): void {
    if (this.#closed) return;
    this.#exit = exit;
    this.#input.clear();
    clearTimeout(this.#hungUpTimer);
    this.#hungUp = false;
    if (!this.#paused) this.#drain();
    this.#watch();
  }

  #drain(): void {
    const exit = this.#exit;
    if (exit === undefined) return;
    clearTimeout(this.#drainTimer);
    this.#drainTimer = setTimeout(() => this.#finish(exit, true), this.#limits.drainMs);
    this.#read();
  }

  #type(): void {
    const before = this.#input.bytes;
    this.#typePieces();
    if (this.#input.bytes < before) this.onTyped();
  }

  #typePieces(): void {
    for (let writes = 0; writes < WRITES_PER_WAKE_UP && this.#input.bytes > 0; writes++) {
      const piece = this.#input.next(native().terminalFlags(this.#master).canonical);
      if (piece === null) return;
      const count = native().write(this.#master, piece, 0, piece.length);
      if (count === -EAGAIN || count === -EINTR) return;
      if (count < 0) {
        this.#input.clear();
        return;
      }
      this.#input.taken(count);
    }
  }

  #finish(exit: ProgramExit, terminalHeld: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const timer of [this.#quietTimer, this.#drainTimer, this.#hungUpTimer])
      clearTimeout(timer);
    this.#input.clear();
    this.#watcher.close();
    closeSync(this.#master);
    this.#settle({ exit, terminalHeld });
  }
}
