import type { Clock } from "./clock.ts";
import type { RunStates } from "./run-states.ts";
import type { Standing } from "./state-judge.ts";

/** Waits for a state from now on, and keeps the standing that showed it. */
export class Seen {
  standing: Standing | null = null;
  readonly stop: () => void;
  readonly #clock: Clock;
  readonly #came: Promise<void>;
  readonly #signal: AbortSignal;

  constructor(
    { states, clock }: { states: RunStates; clock: Clock },
    wanted: (standing: Standing) => boolean,
    signal: AbortSignal,
  ) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#clock = clock;
    this.#came = promise;
    this.#signal = signal;
    this.stop = states.onChange((standing) => {
      if (this.standing !== null || !wanted(standing)) return;
      this.standing = standing;
      resolve();
    });
  }

  /** True once it has come; false when it has not within `ms`. Throws when the program ends. */
  async within(ms: number): Promise<boolean> {
    if (this.standing === null) {
      const late = Promise.withResolvers<void>();
      const cancel = this.#clock.after(ms, late.resolve);
      this.#signal.addEventListener("abort", () => late.resolve(), { once: true });
      await Promise.race([this.#came, late.promise]);
      cancel();
      this.#signal.throwIfAborted();
    }
    return this.standing !== null;
  }
}
