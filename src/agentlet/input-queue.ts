/** Bytes one write takes at most: what the kernel's line discipline holds. */
const PIECE_BYTES = 4096;
/** A terminal in line mode holds 4,096 bytes with the newline, and drops the rest of a longer line without a word. */
const LINE_BYTES = 4095;
/** Bytes that end or empty the line being edited: newline, return, end of file, interrupt, quit, suspend, erase line. */
const LINE_ENDS = new Set([0x0a, 0x0d, 0x04, 0x03, 0x1c, 0x1a, 0x15]);

/** Bytes that wait to be typed. Bounded; hands out pieces that the terminal takes whole. */
export class InputQueue {
  readonly #limit: number;
  readonly #onRefused: (bytes: number) => void;
  #buffers: Buffer[] = [];
  #bytes = 0;
  /** bytes typed since the last end of a line, in line mode */
  #lineBytes = 0;
  /** inside a line that is too long: dropped up to its end */
  #refusing = false;

  constructor(limit: number, onRefused: (bytes: number) => void) {
    this.#limit = limit;
    this.#onRefused = onRefused;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Takes a copy of the bytes; false, and nothing taken, when they do not fit. */
  push(bytes: Buffer): boolean {
    if (this.#bytes + bytes.length > this.#limit) return false;
    if (bytes.length > 0) this.#buffers.push(Buffer.from(bytes));
    this.#bytes += bytes.length;
    return true;
  }

  clear(): void {
    this.#buffers = [];
    this.#bytes = 0;
  }

  /** The next bytes to write; null when none are left. In line mode a piece never makes a line the terminal would cut. */
  next(lineMode: boolean): Buffer | null {
    if (!lineMode) {
      this.#lineBytes = 0;
      this.#refusing = false;
      return this.#buffers[0]?.subarray(0, PIECE_BYTES) ?? null;
    }
    for (;;) {
      const line = this.#lineLength();
      if (line.content === 0 && !line.ended) return null;
      const fits = !this.#refusing && this.#lineBytes + line.content <= LINE_BYTES;
      if (fits) return this.#buffers[0]?.subarray(0, line.content + (line.ended ? 1 : 0)) ?? null;
      // What is left of the line goes with its end, so that half a line is never submitted.
      this.#refusing = !line.ended;
      this.#onRefused(line.content);
      this.#drop(line.content + (line.ended ? 1 : 0));
    }
  }

  /** The terminal took this many bytes of the last piece. */
  taken(count: number): void {
    const head = this.#buffers[0]?.subarray(0, count) ?? Buffer.alloc(0);
    const end = head.findLastIndex((byte) => LINE_ENDS.has(byte));
    this.#lineBytes = end === -1 ? this.#lineBytes + head.length : head.length - end - 1;
    this.#drop(head.length);
  }

  /** The length of the line at the head, looked at no further than a line can be long. */
  #lineLength(): { content: number; ended: boolean } {
    let content = 0;
    for (const buffer of this.#buffers)
      for (const byte of buffer) {
        if (LINE_ENDS.has(byte)) return { content, ended: true };
        content += 1;
        if (!this.#refusing && content > LINE_BYTES) return { content, ended: false };
      }
    return { content, ended: false };
  }

  #drop(count: number): void {
    let left = count;
    while (left > 0) {
      const head = this.#buffers[0];
      if (head === undefined) break;
      if (head.length > left) this.#buffers[0] = head.subarray(left);
      else this.#buffers.shift();
      left -= Math.min(left, head.length);
    }
    this.#bytes -= count - left;
  }
}
