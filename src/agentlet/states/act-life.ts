/** One act from its command on. Until its first key it can be taken back; what was typed cannot. */
export class ActLife {
  /** Aborted when it was taken back in time, and when the program has ended. */
  readonly signal: AbortSignal;
  hasTyped = false;
  readonly #withdrawn = new AbortController();

  constructor(program: AbortSignal) {
    this.signal = AbortSignal.any([program, this.#withdrawn.signal]);
  }

  withdraw(reason: string): void {
    if (!this.hasTyped) this.#withdrawn.abort(new Error(reason));
  }
}
