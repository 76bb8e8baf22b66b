const FIRST_BYTES = 64 * 1024;
/** Larger ones are made for a single large piece and given back after it. */
const KEPT_BYTES = 4 * 1024 * 1024;

/** Bytes gathered for one write. The memory is used again, so that a fast stream makes no garbage. */
export class BatchBuffer {
  #memory = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** A view, good until the next change. */
  get bytes(): Buffer {
    return this.#memory.subarray(0, this.#length);
  }

  append(bytes: Buffer): void {
    bytes.copy(this.room(bytes.length), this.#length);
    this.#length += bytes.length;
  }

  appendText(text: string): void {
    // No UTF-16 unit becomes more than three bytes.
    const memory = this.room(3 * text.length);
    this.#length += memory.write(text, this.#length);
  }

  /** For who writes in place: the memory, with room for so many bytes from `length` on. `grow` counts what was written. */
  room(bytes: number): Buffer {
    const needed = this.#length + bytes;
    if (needed > this.#memory.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#memory.length));
      this.#memory.copy(larger, 0, 0, this.#length);
      this.#memory = larger;
    }
    return this.#memory;
  }

  grow(bytes: number): void {
    if (this.#length + bytes > this.#memory.length)
      throw new RangeError(`Cannot count ${bytes} bytes more than there is room for`);
    this.#length += bytes;
  }

  /** Exchanges what both hold, with their memory. */
  swap(other: BatchBuffer): void {
    [this.#memory, other.#memory] = [other.#memory, this.#memory];
    [this.#length, other.#length] = [other.#length, this.#length];
  }

  clear(): void {
    this.#length = 0;
    if (this.#memory.length > KEPT_BYTES) this.#memory = Buffer.allocUnsafeSlow(FIRST_BYTES);
  }
}
