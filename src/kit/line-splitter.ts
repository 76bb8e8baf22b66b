import { BatchBuffer } from "./batch-buffer.ts";

const NEWLINE = 0x0a;

/**
 * Cuts a stream of bytes into lines. What a line has so far is kept as one copy, in whatever pieces it comes, so that it costs its
 * length and not one buffer a byte.
 */
export class LineSplitter {
  readonly #maxBytes: number;
  #held: BatchBuffer | null = null;
  #isOverlong = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes kept of a line that has no end yet. */
  get heldBytes(): number {
    return this.#held?.length ?? 0;
  }

  /** The line that has no end yet is longer than any may be; nothing of it is kept. */
  get isOverlong(): boolean {
    return this.#isOverlong;
  }

  /** Calls for each line that ends in `bytes`, without its end: a view, good during the call; null for one that was too long. */
  push(bytes: Buffer, onLine: (line: Buffer | null) => void): void {
    let start = 0;
    for (;;) {
      const end = bytes.indexOf(NEWLINE, start);
      const piece = bytes.subarray(start, end === -1 ? bytes.length : end);
      if (this.heldBytes + piece.length > this.#maxBytes) {
        this.#isOverlong = true;
        this.#held = null;
      }
      if (end === -1) {
        if (!this.#isOverlong && piece.length > 0) this.#keep(piece);
        return;
      }
      const line = this.#isOverlong ? null : this.#whole(piece);
      this.#isOverlong = false;
      this.#held = null;
      start = end + 1;
      onLine(line);
    }
  }

  #whole(piece: Buffer): Buffer {
    if (this.#held === null) return piece;
    this.#held.append(piece);
    return this.#held.bytes;
  }

  #keep(piece: Buffer): void {
    this.#held ??= new BatchBuffer();
    this.#held.append(piece);
  }
}
