import { compileRedactionSet } from "../kit/redaction-set.ts";
import type { RedactionSet } from "../kit/redaction-set.ts";
import { TOKEN_SHAPES_VERSION } from "../kit/token-shapes.ts";
import { REDACTION_PREFIX } from "../protocol/asciicast.ts";

/** What the recordings of a recorder mask: one set for the run and its shells, that grows when a value comes in mid-session. */
export class Redaction {
  readonly #values: Buffer[];
  readonly #listeners = new Set<() => void>();
  #set: RedactionSet;
  #version = 1;

  /** `values`: what the manifest delivers into zone A. They are kept in memory only. */
  constructor(values: readonly Buffer[]) {
    this.#values = [...values];
    this.#set = compileRedactionSet(values);
  }

  get set(): RedactionSet {
    return this.#set;
  }

  /** One more than in the recording that is gone on with, 1 in a new one; and one more with each addition. */
  get version(): number {
    return this.#version;
  }

  /** How many values are known. */
  get size(): number {
    return this.#values.length;
  }

  /** The comment line that says which set counts from here on; never a value. */
  get line(): Buffer {
    const facts = { set: this.#version, values: this.size, shapes: TOKEN_SHAPES_VERSION };
    return Buffer.from(`${REDACTION_PREFIX}${JSON.stringify(facts)}\n`);
  }

  /** Goes on after the set that another recorder used last: it may have known other values. */
  goOnAfter(version: number): void {
    this.#version = version + 1;
  }

  add(values: readonly Buffer[]): void {
    this.#values.push(...values);
    this.#set = compileRedactionSet(this.#values);
    this.#version += 1;
    for (const listener of this.#listeners) listener();
  }

  /** Calls the listener after each addition; returns what removes it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
