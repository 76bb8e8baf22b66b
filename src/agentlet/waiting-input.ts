export const WAITING_INPUT_LIMITS = {
  /** typed at a time, so that what cannot be taken whole waits in part only */
  pieceBytes: 64 * 1024,
  /** beyond this it is refused; the manager stops reading from a person long before, so only many of them get here */
  waitingBytes: 8 * 1024 * 1024,
  /** how soon it is tried again when nobody said that there is room */
  retryMs: 50,
};

interface Waiting {
  bytes: Buffer;
  window: string;
  taken: () => void;
}

/** What people type, in the order of its coming, until it can be typed: the program may not read, or automation may have the keyboard. */
export class WaitingInput implements Disposable {
  /** False: not now. It is asked again with the same bytes. */
  readonly #type: (bytes: Buffer, window: string) => boolean;
  readonly #limits: typeof WAITING_INPUT_LIMITS;
  #waiting: Waiting[] = [];
  #bytes = 0;
  #isTyping = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    type: (bytes: Buffer, window: string) => boolean,
    limits: Partial<typeof WAITING_INPUT_LIMITS> = {},
  ) {
    this.#type = type;
    this.#limits = { ...WAITING_INPUT_LIMITS, ...limits };
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** `taken` is called once when all of it is typed, or never will be. False, and nothing taken, when too much waits. */
  push(bytes: Buffer, window: string, taken: () => void): boolean {
    if (this.#bytes + bytes.length > this.#limits.waitingBytes) return false;
    const { pieceBytes } = this.#limits;
    for (let at = 0; at < bytes.length || at === 0; at += pieceBytes) {
      const isLast = at + pieceBytes >= bytes.length;
      const piece = bytes.subarray(at, at + pieceBytes);
      this.#waiting.push({ bytes: piece, window, taken: isLast ? taken : () => undefined });
    }
    this.#bytes += bytes.length;
    this.pump();
    return true;
  }

  /** There may be room. */
  pump(): void {
    // Typing makes room by itself, and says so.
    if (this.#isTyping) return;
    this.#isTyping = true;
    try {
      for (let head = this.#waiting[0]; head !== undefined; head = this.#waiting[0]) {
        if (!this.#type(head.bytes, head.window)) break;
        this.#waiting.shift();
        this.#bytes -= head.bytes.length;
        head.taken();
      }
    } finally {
      this.#isTyping = false;
    }
    clearTimeout(this.#timer);
    this.#timer =
      this.#waiting.length === 0
        ? undefined
        : setTimeout(() => this.pump(), this.#limits.retryMs).unref();
  }

  /** Nobody will take it any more. */
  clear(): void {
    clearTimeout(this.#timer);
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    for (const { taken } of waiting) taken();
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
