import { runBounded } from "./bounded-work.ts";

/** A check that takes more CPU than this is stopped, and the value refused. */
export const CHECK_MS = 100;
/** What is shorter is an ordinary check and counts for nothing. */
const SLOW_MS = 10;
/** How much slow checks may take together within the time below. */
const SPENT_MS = 500;
const WINDOW_MS = 60_000;

/**
 * What schemas of one source may take of the thread that serves every call. A check runs before its call has a place in any queue,
 * so without this, parallel calls with a value that a pattern backtracks on would stop all others, and the watch on limits.
 */
export class CheckBudget {
  #windowEnd = 0;
  #spent = 0;
  #closedUntil = 0;

  /** Runs a check. Throws when it takes too long, and for a minute after one that did, or after many that were slow. */
  run(check: () => boolean): boolean {
    const now = performance.now();
    if (now < this.#closedUntil)
      throw new Error(
        `checks of this schema took too long on values before; it takes none for another ${Math.ceil((this.#closedUntil - now) / 1000)} s`,
      );
    const before = process.threadCpuUsage();
    let spent = SPENT_MS;
    try {
      const fits = runBounded(check, CHECK_MS);
      const { user, system } = process.threadCpuUsage(before);
      spent = (user + system) / 1000;
      return fits;
    } catch {
      throw new Error(`the schema took longer than ${CHECK_MS} ms on this value`);
    } finally {
      if (spent >= SLOW_MS) this.#count(spent);
    }
  }

  #count(spentMs: number): void {
    const now = performance.now();
    if (now >= this.#windowEnd) {
      this.#windowEnd = now + WINDOW_MS;
      this.#spent = 0;
    }
    this.#spent += spentMs;
    if (this.#spent >= SPENT_MS) this.#closedUntil = now + WINDOW_MS;
  }
}
