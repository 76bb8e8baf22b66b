const COMPACT_AT = 1024;

/**
 * Which bytes of a stream the screen shows, as a stack of runs: the newest byte is taken back or found at once, however much lies
 * between it and the present that is not shown. Positions are offsets in the stream.
 */
export class ShownBytes {
  readonly #from: number[] = [];
  readonly #to: number[] = [];
  /** runs before this one are forgotten */
  #head = 0;

  /** The bytes from `from` up to `to` are shown; they come after all that are known. */
  push(from: number, to: number): void {
    if (from >= to) return;
    const last = this.#to.length - 1;
    if (last >= this.#head && this.#to[last] === from) this.#to[last] = to;
    else {
      this.#from.push(from);
      this.#to.push(to);
    }
  }

  /** Takes the newest byte away and says where it was; null when none is known. */
  pop(): number | null {
    const last = this.#to.length - 1;
    if (last < this.#head) return null;
    const at = (this.#to[last] as number) - 1;
    if (at === this.#from[last]) {
      this.#from.pop();
      this.#to.pop();
    } else this.#to[last] = at;
    return at;
  }

  /** Where the byte is that is the `count`th from the newest; null when it is older than what is kept. */
  back(count: number): number | null {
    let left = count;
    for (let index = this.#to.length - 1; index >= this.#head; index -= 1) {
      const [from, to] = [this.#from[index] as number, this.#to[index] as number];
      if (to - from >= left) return to - left;
      left -= to - from;
    }
    return null;
  }

  /** Calls `each` for every byte that is shown from `from` on, the newest first. */
  each(from: number, each: (at: number) => void): void {
    for (let index = this.#to.length - 1; index >= this.#head; index -= 1) {
      const first = Math.max(from, this.#from[index] as number);
      for (let at = (this.#to[index] as number) - 1; at >= first; at -= 1) each(at);
      if (first === from) return;
    }
  }

  /** Forgets all before `offset`. */
  drop(offset: number): void {
    while (this.#head < this.#to.length && (this.#to[this.#head] as number) <= offset)
      this.#head += 1;
    if (this.#head < this.#to.length)
      this.#from[this.#head] = Math.max(offset, this.#from[this.#head] as number);
    if (this.#head < COMPACT_AT && this.#head < this.#to.length) return;
    this.#from.splice(0, this.#head);
    this.#to.splice(0, this.#head);
    this.#head = 0;
  }

  clear(): void {
    this.#from.length = 0;
    this.#to.length = 0;
    this.#head = 0;
  }
}
