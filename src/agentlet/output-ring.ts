/** The last bytes of the output with their offsets: what viewers stream from and the emulator reads. Older bytes are forgotten. */
export class OutputRing {
  readonly #memory: Buffer;
  #end = 0;
  /** what lies before was passed over */
  #floor = 0;

  constructor(capacity = 2 * 1024 * 1024) {
    this.#memory = Buffer.allocUnsafeSlow(capacity);
  }

  /** Offset of the oldest byte still held. */
  get start(): number {
    return Math.max(this.#floor, this.#end - this.#memory.length);
  }

  /** Offset after the newest byte: the length of the whole output so far. */
  get end(): number {
    return this.#end;
  }

  write(bytes: Buffer): void {
    const kept = bytes.subarray(Math.max(0, bytes.length - this.#memory.length));
    let at = (this.#end + bytes.length - kept.length) % this.#memory.length;
    const first = kept.copy(this.#memory, at);
    at = (at + first) % this.#memory.length;
    if (first < kept.length) kept.copy(this.#memory, at, first);
    this.#end += bytes.length;
  }

  /** Goes on at a later offset; what was held and what lies between is not there any more. */
  skipTo(offset: number): void {
    if (offset < this.#end) throw new RangeError(`Cannot skip back from ${this.#end} to ${offset}`);
    this.#end = offset;
    this.#floor = offset;
  }

  /** A copy of at most `limit` bytes from `offset` on, behind `room` bytes left for a head. Throws `RangeError` outside. */
  slice(offset: number, limit: number, room = 0): Buffer {
    if (offset < this.start || offset > this.#end)
      throw new RangeError(`Offset ${offset} is not in ${this.start} to ${this.#end}`);
    const length = Math.min(limit, this.#end - offset);
    const out = Buffer.allocUnsafe(room + length);
    const at = offset % this.#memory.length;
    const first = this.#memory.copy(out, room, at, Math.min(at + length, this.#memory.length));
    if (first < length) this.#memory.copy(out, room + first, 0, length - first);
    return out;
  }
}
