import type { Clock } from "./clock.ts";
import type { Signal } from "./signal.ts";
import type { Standing } from "./state-judge.ts";

export const PACE_LIMITS = {
  /** changes of state that are taken at once: more than a CLI has in its busiest second */
  burst: 32,
  perSecond: 4,
};

export interface ClaimPaceOptions {
  clock: Clock;
  standing: () => Standing;
  /** takes a signal whose time has come */
  signal: (signal: Signal) => void;
}

/**
 * Keeps what zone A reports to a few changes of state a second: each is an event on the manager's disk, a marker in the recording
 * and perhaps an answer. What changes nothing passes; of changes that come too fast the last one counts.
 */
export class ClaimPace implements Disposable {
  readonly #options: ClaimPaceOptions;
  #tokens = PACE_LIMITS.burst;
  #countedAtMs: number;
  #lastAsk = "";
  #cancel: (() => void) | null = null;

  constructor(options: ClaimPaceOptions) {
    this.#options = options;
    this.#countedAtMs = options.clock.now();
  }

  take(signal: Signal): void {
    // The newest claim of a channel replaces the one before, also one that waits.
    this.#cancel?.();
    this.#cancel = null;
    const ask = JSON.stringify(signal.ask ?? null);
    const isChange = signal.state !== this.#options.standing().state || ask !== this.#lastAsk;
    if (isChange && !this.#spend()) return this.#delay(signal);
    this.#lastAsk = ask;
    this.#options.signal(signal);
  }

  [Symbol.dispose](): void {
    this.#cancel?.();
  }

  #delay(signal: Signal): void {
    const waitMs = ((1 - this.#tokens) * 1000) / PACE_LIMITS.perSecond;
    this.#cancel = this.#options.clock.after(Math.ceil(waitMs), () => {
      this.take(signal);
    });
  }

  #spend(): boolean {
    const now = this.#options.clock.now();
    const earned = ((now - this.#countedAtMs) * PACE_LIMITS.perSecond) / 1000;
    this.#tokens = Math.min(PACE_LIMITS.burst, this.#tokens + earned);
    this.#countedAtMs = now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
