import { type ByteAutomaton, buildByteAutomaton } from "./byte-automaton.ts";
import { formsOfSecret } from "./secret-forms.ts";

const MASK = 0x2a;

/** Every form of a set of secrets, compiled once and shared by any number of redactors. */
export interface RedactionTable {
  readonly automaton: ByteAutomaton;
  /** what was learned later: open redactors of this table look for it too, from then on */
  readonly later?: RedactionTable[];
}

export interface RedactionOptions {
  /** texts that hold a secret in a form of their own, such as the base64 of `user:secret`; no windows of them are masked */
  extraForms?: Buffer[];
}

/** Compiles the forms of these secrets. Costs about a millisecond a secret, so keep the table. */
export function compileRedaction(
  secrets: readonly Buffer[],
  options: RedactionOptions = {},
): RedactionTable {
  const forms = [
    ...secrets.flatMap((secret) => formsOfSecret(secret, { windows: true })),
    ...(options.extraForms ?? []).flatMap((form) => formsOfSecret(form, { windows: false })),
  ];
  const distinct = new Map(forms.map((form) => [form.toString("latin1"), form]));
  return { automaton: buildByteAutomaton([...distinct.values()]), later: [] };
}

/** Lets every redactor of `table`, those that are in the middle of a stream too, mask what `learned` masks from here on. */
export function extendRedaction(table: RedactionTable, learned: RedactionTable): void {
  table.later?.push(learned);
}

/**
 * Masks secrets in a stream, in any rendering and across any split, and holds back only bytes that can still become a match.
 * A secret is replaced by as many `*` as it has bytes: lengths survive, so Content-Length, frames, terminal columns and JSON do too.
 */
export class Redactor {
  readonly #automaton: ByteAutomaton;
  readonly #later: readonly RedactionTable[];
  /** one redactor for each table that was learned later, in their order */
  readonly #stages: Redactor[] = [];
  /** bytes read and not yet given out; masked ones are masked already */
  #held: Buffer = Buffer.alloc(0);
  #state = 0;
  /** absolute offset of the first held byte */
  #offset = 0;
  /** the last run of masked bytes, as absolute offsets */
  #maskFrom = 0;
  #maskTo = 0;
  #masked = 0;

  constructor(secrets: readonly Buffer[] | RedactionTable, options: RedactionOptions = {}) {
    const table = "automaton" in secrets ? secrets : compileRedaction(secrets, options);
    this.#automaton = table.automaton;
    this.#later = table.later ?? [];
  }

  /** How many secrets (or parts of one) were masked so far. */
  get masked(): number {
    return this.#stages.reduce((sum, stage) => sum + stage.masked, this.#masked);
  }

  /** Takes the next bytes, gives those that are decided. The chunk is not changed. */
  push(chunk: Buffer): Buffer {
    const out = this.#search(chunk);
    // What was learned cannot be in what went out before: nobody had been given it.
    return this.#later.length === 0 ? out : this.#pass(out);
  }

  #search(chunk: Buffer): Buffer {
    const start = this.#held.length;
    const bytes = start === 0 ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk]);
    const state = this.#follow(bytes, start);
    this.#state = state;
    // A live pattern may begin in a mask that was given out already: then all that is here waits.
    const keep = Math.min(
      bytes.length,
      this.#undecided(this.#offset + bytes.length, this.#automaton.depth[state] as number),
    );
    const out = bytes.subarray(0, bytes.length - keep);
    this.#held = Buffer.from(bytes.subarray(bytes.length - keep));
    this.#offset += out.length;
    return out;
  }

  /**
   * Follows the automaton over `bytes` from `start` on, masks what it finds in place, and gives the state at their end.
   * Where no pattern is alive, looking at two bytes at a time is enough: one look-up then does not wait for the one before it.
   */
  #follow(bytes: Buffer, start: number): number {
    const { dense, denseCount, chainByte, chainNext, fail } = this.#automaton;
    const { matchLength, depth, startsPattern } = this.#automaton;
    let state = this.#state;
    let index = start;
    while (index < bytes.length) {
      let byte: number;
      do {
        byte = bytes[index] as number;
        while (state >= denseCount && chainByte[state] !== byte) state = fail[state] as number;
        state = (state >= denseCount ? chainNext[state] : dense[(state << 8) | byte]) as number;
        index += 1;
        if (matchLength[state] !== 0) this.#mask(bytes, index, matchLength[state] as number);
      } while (index < bytes.length && (depth[state] as number) > 1);
      if (index === bytes.length) return state;
      let next = bytes[index] as number;
      while (startsPattern[(byte << 8) | next] === 0) {
        byte = next;
        index += 1;
        if (index === bytes.length) break;
        next = bytes[index] as number;
      }
      state = dense[byte] as number;
    }
    return state;
  }

  /** Gives what was held back, at the end of the stream. The redactor may then be used for another one. */
  end(): Buffer {
    const rest = this.#held;
    this.#held = Buffer.alloc(0);
    this.#state = 0;
    this.#offset += rest.length;
    if (this.#later.length === 0) return rest;
    let out = this.#pass(rest);
    for (const [index, stage] of this.#stages.entries()) {
      const held = stage.end();
      // What one stage held back is still to be seen by those behind it.
      out = Buffer.concat([out, this.#pass(held, index + 1)]);
    }
    return out;
  }

  /** Sends bytes through what was learned later, from one stage on. */
  #pass(bytes: Buffer, from = 0): Buffer {
    let out = bytes;
    for (let index = from; index < this.#later.length; index += 1) {
      const stage = (this.#stages[index] ??= new Redactor(this.#later[index] as RedactionTable));
      out = stage.push(out);
    }
    return out;
  }

  #mask(bytes: Buffer, end: number, length: number): void {
    const to = this.#offset + end;
    const from = to - length;
    if (from >= this.#maskTo) this.#masked += 1;
    // A match may begin before the last one did: then the runs join.
    this.#maskFrom = from > this.#maskTo ? from : Math.min(this.#maskFrom, from);
    this.#maskTo = to;
    // What lies before these bytes was given out as mask already.
    bytes.fill(MASK, Math.max(0, end - length), end);
  }

  /** Bytes that begin a pattern must wait, except a masked run at their front: it looks the same whatever follows. */
  #undecided(end: number, depth: number): number {
    const from = end - depth;
    return from >= this.#maskFrom && from < this.#maskTo ? end - this.#maskTo : depth;
  }
}

/** Masks a whole text or body at once, and says how many secrets were in it. With null nothing is looked for. */
export function redactWhole(
  secrets: readonly Buffer[] | RedactionTable | null,
  bytes: Buffer,
): { bytes: Buffer; masked: number } {
  if (secrets === null) return { bytes, masked: 0 };
  const redactor = new Redactor(secrets);
  const whole = Buffer.concat([redactor.push(bytes), redactor.end()]);
  return { bytes: whole, masked: redactor.masked };
}

/** The same for who does not count. */
export function redactAll(
  secrets: readonly Buffer[] | RedactionTable | null,
  bytes: Buffer,
): Buffer {
  return redactWhole(secrets, bytes).bytes;
}
