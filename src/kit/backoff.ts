import timers from "node:timers/promises";

/** Waits of full jitter, growing from `minMs` to `maxMs`; `startOver` after progress brings short waits back. */
export class Backoff {
  readonly #minMs: number;
  readonly #maxMs: number;
  #attempt = 0;

  constructor(options: { minMs: number; maxMs: number }) {
    this.#minMs = options.minMs;
    this.#maxMs = options.maxMs;
  }

  /** Waits before the next attempt. Rejects with the signal's reason when it is aborted. */
  async wait(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const ceiling = Math.min(this.#maxMs, this.#minMs * 2 ** this.#attempt);
    this.#attempt = Math.min(this.#attempt + 1, 30);
    await timers.setTimeout(this.#minMs / 2 + Math.random() * ceiling, undefined, { signal });
  }

  /** Waits for a random part of `ms`, as the other side asked: it is there, so short waits come back. */
  async within(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.startOver();
    await timers.setTimeout(this.#minMs / 2 + Math.random() * ms, undefined, { signal });
  }

  startOver(): void {
    this.#attempt = 0;
  }
}
