/** A parser under attack: inputs to begin with, and what must hold for every input. */
export interface FuzzTarget {
  seeds: Buffer[];
  /** Throws when a promise is broken. Refusing the input is no fault. */
  run(input: Buffer): void | Promise<void>;
  /** Ends what `run` opened. */
  close?(): Promise<void>;
}
