/** What a terminal puts around a paste, in mode 2004. */
export const PASTE_BEGIN = "\x1b[200~";
export const PASTE_END = "\x1b[201~";

/** Follows a stream of typed bytes for the marks of bracketed pastes, wherever it is cut. */
export class PasteMarks {
  #isOpen = false;
  /** the end of what was seen: a mark may go on in the next piece */
  #tail = "";

  /** Inside a paste: its begin was seen, and its end not yet. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Takes the next piece; gives the place in it behind the first end of a paste, or -1. */
  push(bytes: Buffer): number {
    const text = this.#tail + bytes.toString("latin1");
    const before = this.#tail.length;
    let end = -1;
    let at = 0;
    for (;;) {
      const mark = this.#isOpen ? PASTE_END : PASTE_BEGIN;
      const found = text.indexOf(mark, at);
      if (found === -1) break;
      at = found + mark.length;
      if (this.#isOpen && end === -1) end = at - before;
      this.#isOpen = !this.#isOpen;
    }
    this.#tail = text.slice(at).slice(1 - PASTE_END.length);
    return end;
  }

  /** As if nothing had been seen. */
  forget(): void {
    this.#isOpen = false;
    this.#tail = "";
  }
}
