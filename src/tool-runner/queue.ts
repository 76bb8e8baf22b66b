import { PlatformError } from "../kit/platform-error.ts";

/** Calls of a whole run. */
export const RUN_CALLS = { running: 8, waiting: 64 };

interface Waiting {
  admit(): void;
}

/** Lets a bounded number of calls run at once and a bounded number wait; the rest is refused. */
export class CallQueue {
  readonly #limit: number;
  readonly #waitingLimit: number;
  #active = 0;
  readonly #waiting: Waiting[] = [];

  constructor(options: { running: number; waiting: number }) {
    this.#limit = options.running;
    this.#waitingLimit = options.waiting;
  }

  get running(): number {
    return this.#active;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Waits for a place; disposing gives it back. Throws `queue_full`, or the signal's reason when it is aborted. */
  async enter(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    if (this.#active >= this.#limit) await this.#wait(signal);
    else this.#active += 1;
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (held) this.#leave();
        held = false;
      },
    };
  }

  #wait(signal: AbortSignal): Promise<void> {
    if (this.#waiting.length >= this.#waitingLimit) {
      throw new PlatformError(
        "queue_full",
        `Too many tool calls at once: ${this.#limit} run and ${this.#waitingLimit} wait already`,
        { fix: "call again when earlier calls have ended", retryable: true },
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting: Waiting = { admit: () => resolve() };
    const abandon = (): void => {
      const at = this.#waiting.indexOf(waiting);
      if (at === -1) return;
      this.#waiting.splice(at, 1);
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", abandon, { once: true });
    this.#waiting.push(waiting);
    return promise.finally(() => signal.removeEventListener("abort", abandon));
  }

  /** The place goes to the one that waits longest, without becoming free in between. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#active -= 1;
    else next.admit();
  }
}
