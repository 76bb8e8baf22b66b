import { PASTE_END, PasteMarks } from "./paste-marks.ts";
import type { Clock } from "./states/clock.ts";

export const PASTE_LIMITS = {
  /** how long nobody must be attached, or a paste that was cut must stand still, until it is over */
  leftMs: 3000,
  lookMs: 250,
};

export interface TypedPastesOptions {
  clock: Clock;
  /** Types into the program now; false when it does not read. */
  type: (bytes: Buffer) => boolean;
  /** true while somebody is attached who may type */
  hasWriter: () => boolean;
  onEnded: (message: string) => void;
}

const END = Buffer.from(PASTE_END);

/**
 * Keeps people's pastes whole: one of which a part could not be typed is cut there and ended, so that it has no hole and its rest is not
 * taken for keys; one whose person has gone is ended too. Otherwise the program would wait for the end, and whatever is typed next, also
 * by automation, would be pasted.
 */
export class TypedPastes implements Disposable {
  readonly #options: TypedPastesOptions;
  /** as people send it */
  readonly #sent = new PasteMarks();
  /** as the program has it */
  readonly #typed = new PasteMarks();
  /** a part of the paste that is being sent was not typed: nor is its rest */
  #isCut = false;
  /** the program is to be told that its paste is over, as soon as it takes it */
  #mustEnd = false;
  #sentAtMs = 0;
  #stopLooking: (() => void) | null = null;

  constructor(options: TypedPastesOptions) {
    this.#options = options;
  }

  /** The program is inside a person's paste: what is typed now becomes part of it. */
  get isOpen(): boolean {
    return this.#typed.isOpen;
  }

  /** What of a person's bytes is to be typed: all of them, but for the rest of a paste that was cut. */
  sent(bytes: Buffer): Buffer {
    this.#sentAtMs = this.#options.clock.now();
    const end = this.#sent.push(bytes);
    this.#lookLater();
    if (!this.#isCut) return bytes;
    if (end === -1) return bytes.subarray(0, 0);
    this.#isCut = false;
    this.#end();
    return bytes.subarray(end);
  }

  /** Types a person's bytes, or loses them whole. */
  type(bytes: Buffer): void {
    if ((this.#mustEnd && !this.#end()) || !this.#options.type(bytes)) return this.#lost();
    this.#typed.push(bytes);
    this.#lookLater();
  }

  /** The program is gone, and all that was pasted into it. */
  forget(): void {
    this.#sent.forget();
    this.#typed.forget();
    this.#isCut = false;
    this.#mustEnd = false;
    this.#stopLooking?.();
    this.#stopLooking = null;
  }

  [Symbol.dispose](): void {
    this.forget();
  }

  /** A person's bytes were not typed and never will be. */
  #lost(): void {
    if (this.#sent.isOpen) this.#isCut = true;
    else this.#end();
    this.#lookLater();
  }

  /** Ends the program's paste, now or once it reads again; true when it has none any more. */
  #end(): boolean {
    this.#mustEnd = this.#typed.isOpen;
    if (!this.#mustEnd) return true;
    if (!this.#options.type(END)) return false;
    this.#typed.forget();
    this.#mustEnd = false;
    return true;
  }

  #lookLater(): void {
    const isRest = !this.#sent.isOpen && !this.#typed.isOpen && !this.#isCut;
    if (isRest || this.#stopLooking !== null) return;
    this.#stopLooking = this.#options.clock.after(PASTE_LIMITS.lookMs, () => {
      this.#stopLooking = null;
      this.#look();
      this.#lookLater();
    });
  }

  #look(): void {
    if (this.#mustEnd) this.#end();
    const isQuiet = this.#options.clock.now() - this.#sentAtMs >= PASTE_LIMITS.leftMs;
    if (!isQuiet || (this.#options.hasWriter() && !this.#isCut)) return;
    if (this.#typed.isOpen && !this.#mustEnd)
      this.#options.onEnded(
        this.#isCut
          ? "A paste was cut off where the program stopped reading, and is ended there"
          : "A person left in the middle of a paste, and it is ended there",
      );
    this.#sent.forget();
    this.#isCut = false;
    this.#end();
  }
}
