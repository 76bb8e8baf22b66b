/** A frame that the recorder does not have for certain yet. */
export interface UnackedFrame {
  seq: number;
  data: Buffer;
}

/** Encoded frames in order, until they are acknowledged. Taking many from the front costs little. */
export class UnackedFrames {
  #frames: UnackedFrame[] = [];
  #head = 0;
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#frames.length - this.#head;
  }

  push(frame: UnackedFrame): void {
    this.#frames.push(frame);
    this.#bytes += frame.data.length;
  }

  /** Forgets all frames up to and with `seq`; the number of frames forgotten. */
  forget(seq: number): number {
    const before = this.#head;
    for (let frame = this.#frames[this.#head]; frame !== undefined && frame.seq <= seq;) {
      this.#bytes -= frame.data.length;
      this.#head += 1;
      frame = this.#frames[this.#head];
    }
    const forgotten = this.#head - before;
    // Compacted when half of the list is spent, so that the work stays proportional to the frames.
    if (this.#head > 64 && this.#head * 2 > this.#frames.length) {
      this.#frames = this.#frames.slice(this.#head);
      this.#head = 0;
    }
    return forgotten;
  }

  *[Symbol.iterator](): Generator<UnackedFrame> {
    for (let at = this.#head; at < this.#frames.length; at++) {
      const frame = this.#frames[at];
      if (frame !== undefined) yield frame;
    }
  }
}
