import type { RedactionSet } from "../kit/redaction-set.ts";
import { TerminalRedactor } from "../kit/terminal-redactor.ts";
import { OutputRing } from "./output-ring.ts";

/** What a redactor reads before it is relied on: nothing that it waits for is longer, and no string of a terminal is. */
const CONTEXT_BYTES = 64 * 1024;
/** Output that waits: as much as the emulator would read before it skips, with the context of the last of it. */
const WAITING_BYTES = 2 * 1024 * 1024;
const PIECE_BYTES = 64 * 1024;

export interface ShownOutputOptions {
  redaction: RedactionSet;
  cols: number;
  /** fewer bytes that may begin a secret are shown at once */
  showBelow: number;
  /** Whether output may wait: nobody is attached, and the emulator has enough to read for now. */
  mayWait: () => boolean;
}

/**
 * The output of a terminal as viewers and the emulator may see it: masked, in a ring. In a flood that nobody watches it waits unmasked
 * until somebody looks, and what is passed over by then is never masked: the recorder masks its own, and most of a flood is seen by no one.
 */
export class ShownOutput {
  readonly ring = new OutputRing();
  readonly #options: ShownOutputOptions;
  #redactor: TerminalRedactor;
  #set: RedactionSet;
  #cols: number;
  /** made at the first flood */
  #raw: OutputRing | null = null;
  /** bytes that were not given to the redactor yet */
  #waiting = 0;

  constructor(options: ShownOutputOptions) {
    this.#options = options;
    this.#set = options.redaction;
    this.#cols = options.cols;
    this.#redactor = this.#newRedactor();
  }

  /** Bytes of output that wait behind the end of the ring. */
  get waitingBytes(): number {
    return this.#waiting;
  }

  /** Takes output. True: some of it is in the ring now. */
  push(bytes: Buffer): boolean {
    if (this.#waiting === 0 && !this.#options.mayWait()) return this.#show(bytes);
    this.#raw ??= new OutputRing(WAITING_BYTES);
    this.#raw.write(bytes);
    this.#waiting += bytes.length;
    return false;
  }

  /** Shows what waits: all of it, or what of it is still here. */
  showAll(): void {
    this.#showLast(WAITING_BYTES - CONTEXT_BYTES);
  }

  /** Shows the end of what waits, at least so many bytes, and passes over what comes before. */
  showTail(bytes: number): void {
    this.#showLast(bytes);
  }

  /** Nothing follows: shows all, also what the redactor waits with. */
  end(): void {
    this.showAll();
    this.ring.write(this.#redactor.end());
  }

  /** From here on another set of secrets is masked, also in what waits. */
  use(set: RedactionSet): void {
    this.#set = set;
    this.#redactor.use(set);
  }

  /** The terminal has another width for all output from now on. */
  resize(cols: number): void {
    this.showAll();
    this.#cols = cols;
    this.#redactor.resize(cols);
  }

  #showLast(bytes: number): void {
    const raw = this.#raw;
    if (raw === null || this.#waiting === 0) return;
    let at = raw.end - this.#waiting;
    const from = raw.end - bytes - CONTEXT_BYTES;
    this.#waiting = 0;
    if (from > at) {
      // What a redactor does not know of is masked by none: the new one reads on before it shows.
      const skipped = from - at + CONTEXT_BYTES;
      const unseen = this.#redactor.heldBytes;
      this.#redactor = this.#newRedactor();
      this.#redactor.prime(raw.slice(from, CONTEXT_BYTES));
      this.ring.skipTo(this.ring.end + unseen + skipped);
      at = from + CONTEXT_BYTES;
    }
    for (; at < raw.end; at += PIECE_BYTES) this.#show(raw.slice(at, PIECE_BYTES));
  }

  #show(bytes: Buffer): boolean {
    const masked = this.#redactor.push(bytes);
    this.ring.write(masked);
    return masked.length > 0;
  }

  #newRedactor(): TerminalRedactor {
    const { showBelow } = this.#options;
    return new TerminalRedactor(this.#set, { cols: this.#cols, showBelow });
  }
}
