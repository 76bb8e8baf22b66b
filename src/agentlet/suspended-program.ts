import type { Clock } from "./states/clock.ts";

export const SUSPEND_LIMITS = {
  lookMs: 500,
  /** after the key: how long a program on a busy machine may take to go */
  looks: 10,
};

/** Ctrl-Z as terminals send it: as a byte, in kitty's protocol, and among xterm's other keys. */
// oxlint-disable-next-line no-control-regex -- control sequences are what is looked for
const SUSPEND_KEY = /\x1a|\x1b\[122(?::\d*){0,2};5(?::1)?u|\x1b\[27;5;122~/;

export interface SuspendedProgramOptions {
  clock: Clock;
  /** the terminal edits lines: a program with a screen of its own has put it away */
  isLineMode: () => boolean;
  /** SIGCONT to the program */
  wake: () => void;
}

/**
 * Brings back a program that went away at Ctrl-Z. There is no shell behind it that could (`fg`), and the kernel stops no program that
 * has none; one that puts its screen away and then waits to be continued would wait for ever.
 */
export class SuspendedProgram implements Disposable {
  readonly #options: SuspendedProgramOptions;
  #cancel: (() => void) | null = null;
  #looks = 0;

  constructor(options: SuspendedProgramOptions) {
    this.#options = options;
  }

  /** A person has typed. */
  typed(bytes: Buffer): void {
    if (!SUSPEND_KEY.test(bytes.toString("latin1"))) return;
    this.#looks = SUSPEND_LIMITS.looks;
    this.#cancel ??= this.#later();
  }

  [Symbol.dispose](): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  #later(): () => void {
    return this.#options.clock.after(SUSPEND_LIMITS.lookMs, () => {
      if (this.#options.isLineMode()) this.#options.wake();
      this.#looks -= 1;
      this.#cancel = this.#looks > 0 ? this.#later() : null;
    });
  }
}
