import { redactTexts } from "../kit/redact-text.ts";
import { compileRedactionSet } from "../kit/redaction-set.ts";
import type { RedactionSet } from "../kit/redaction-set.ts";

/** What an agentlet must not show or tell: the values that the manifest delivered into zone A, and tokens by their shape. */
export class ZoneRedaction {
  readonly #values: Buffer[];
  #set: RedactionSet;
  #onChange: ((set: RedactionSet) => void) | null = null;

  /** `values`: base64, as the supervisor hands them over. */
  constructor(values: readonly string[]) {
    this.#values = values.map(decode);
    this.#set = compileRedactionSet(this.#values);
  }

  get set(): RedactionSet {
    return this.#set;
  }

  /** A plain document with every text in it masked. */
  mask<T>(value: T): T {
    return redactTexts(this.#set, value);
  }

  add(values: readonly string[]): void {
    this.#values.push(...values.map(decode));
    this.#set = compileRedactionSet(this.#values);
    this.#onChange?.(this.#set);
  }

  /** Called with the larger set after each addition. */
  watch(listener: (set: RedactionSet) => void): void {
    this.#onChange = listener;
  }
}

function decode(value: string): Buffer {
  return Buffer.from(value, "base64");
}
