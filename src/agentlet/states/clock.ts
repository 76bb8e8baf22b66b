/** Time as the states see it: the machine's for a run, a recording's own for `explain`. */
export interface Clock {
  /** milliseconds from any start; never goes back */
  now(): number;
  /** Calls once, after `ms`; the result cancels it. */
  after(ms: number, act: () => void): () => void;
}

/** The machine's clock. */
export const machineClock: Clock = {
  now: () => performance.now(),
  after: (ms, act) => {
    const timer = setTimeout(act, ms);
    return () => clearTimeout(timer);
  },
};

/** Waits `ms` of a clock's time. Rejects at once when the signal aborts. */
export async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve } = Promise.withResolvers<void>();
  const wake = () => resolve();
  const cancel = clock.after(ms, wake);
  signal.addEventListener("abort", wake);
  await promise;
  cancel();
  signal.removeEventListener("abort", wake);
  signal.throwIfAborted();
}

/** A clock that stands still until it is told to go on. What is due is called in order of time. */
export class RecordedClock implements Clock {
  #now = 0;
  #due: { at: number; act: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, act: () => void): () => void {
    const entry = { at: this.#now + Math.max(0, ms), act };
    this.#due.push(entry);
    return () => {
      this.#due = this.#due.filter((other) => other !== entry);
    };
  }

  /** Goes on to `ms`; what is due on the way is called at its own time. */
  advanceTo(ms: number): void {
    for (;;) {
      const [next] = this.#due.toSorted((a, b) => a.at - b.at);
      if (next === undefined || next.at > ms) break;
      this.#due = this.#due.filter((entry) => entry !== next);
      this.#now = Math.max(this.#now, next.at);
      next.act();
    }
    this.#now = Math.max(this.#now, ms);
  }
}
