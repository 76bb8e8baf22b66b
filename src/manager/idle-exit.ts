/** How long nothing may happen before an ephemeral manager ends. */
export interface IdleTimes {
  /** After the last run, viewer or request. */
  idleMs: number;
  /** After the start, when nothing has come yet: a supervisor prepares its run before it registers. */
  firstMs: number;
}
export const IDLE_TIMES: IdleTimes = { idleMs: 5000, firstMs: 30_000 };

/** Decides when a manager ends by itself. */
export class IdleExit implements Disposable {
  /** Resolves when it is time to end; never rejects. */
  readonly finished: Promise<void>;
  readonly #finish: () => void;
  readonly #isBusy: () => boolean;
  readonly #timer: NodeJS.Timeout | null;
  #quietUntil: number;
  readonly #idleMs: number;

  constructor(options: { ephemeral: boolean; times: IdleTimes; isBusy: () => boolean }) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.finished = promise;
    this.#finish = resolve;
    this.#isBusy = options.isBusy;
    this.#idleMs = options.times.idleMs;
    this.#quietUntil = performance.now() + options.times.firstMs;
    this.#timer = options.ephemeral
      ? setInterval(() => this.#look(), Math.min(500, options.times.idleMs))
      : null;
  }

  /** A request of the operator came. */
  touch(): void {
    this.#quietUntil = Math.max(this.#quietUntil, performance.now() + this.#idleMs);
  }

  /** Ends now when nothing is live and nobody watches; says whether. */
  exitIfIdle(): boolean {
    if (this.#isBusy()) return false;
    // The answer to this very request is still to be sent.
    setImmediate(this.#finish);
    return true;
  }

  [Symbol.dispose](): void {
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  #look(): void {
    if (this.#isBusy()) {
      this.#quietUntil = performance.now() + this.#idleMs;
      return;
    }
    if (performance.now() > this.#quietUntil) this.#finish();
  }
}
