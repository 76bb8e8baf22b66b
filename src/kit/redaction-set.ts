import { buildByteAutomaton } from "./byte-automaton.ts";
import type { ByteAutomaton } from "./byte-automaton.ts";
import { formsOfSecret } from "./secret-forms.ts";
import { TOKEN_SHAPES } from "./token-shapes.ts";
import type { TokenShape } from "./token-shapes.ts";

/** What a `TerminalRedactor` looks for: every form of known values, and tokens known by their shape. Compiled once, shared. */
export interface RedactionSet {
  readonly automaton: ByteAutomaton;
  /** by state: 1 when something ends there, so that the common case is one look */
  readonly hit: Uint8Array;
  /** by two bytes: 1 when something may begin with them, or one of them is a control */
  readonly pairs: Uint8Array;
  /** by state: length of the longest form of a known value that ends there, 0 for none */
  readonly formLength: Int32Array;
  /** by state: how many of the bytes just read may still become a form of a known value */
  readonly aliveLength: Int32Array;
  /** by state: the shapes whose beginning ends exactly there, with the length of that beginning */
  readonly begun: ReadonlyMap<number, readonly Begun[]>;
}

/** A shape, and how long the beginning is that was read. */
export interface Begun {
  readonly shape: TokenShape;
  readonly length: number;
}

/** Compiles what is known of these values. Costs about a millisecond a value. Throws `secret_too_large` beyond 64 KiB. */
export function compileRedactionSet(
  values: readonly Buffer[],
  shapes: readonly TokenShape[] = TOKEN_SHAPES,
): RedactionSet {
  const forms = new Map<string, Buffer>();
  for (const value of values)
    for (const form of formsOfSecret(value, { windows: true }))
      forms.set(form.toString("latin1"), form);
  const beginnings = shapes.flatMap((shape) =>
    shape.prefixes.map((prefix) => ({ shape, bytes: Buffer.from(prefix) })),
  );
  const automaton = buildByteAutomaton([
    ...forms.values(),
    ...beginnings.map(({ bytes }) => bytes),
  ]);
  // The beginning of a shape is no secret, and does not wait: only its own states are left out.
  const inForm = new Uint8Array(automaton.fail.length);
  for (const form of forms.values()) markForm(automaton, form, inForm);
  const begun = new Map<number, Begun[]>();
  for (const { shape, bytes } of beginnings) {
    const state = stateAfter(automaton, bytes);
    const here = begun.get(state) ?? [];
    here.push({ shape, length: bytes.length });
    begun.set(state, here);
  }
  return {
    automaton,
    begun,
    pairs: withControls(automaton.startsPattern),
    ...lookups(automaton, inForm, begun),
  };
}

/** One step of the automaton. */
export function nextState(automaton: ByteAutomaton, from: number, byte: number): number {
  const { dense, denseCount, chainByte, chainNext, fail } = automaton;
  let state = from;
  while (state >= denseCount && chainByte[state] !== byte) state = fail[state] as number;
  return (state >= denseCount ? chainNext[state] : dense[(state << 8) | byte]) as number;
}

function withControls(startsPattern: Uint8Array): Uint8Array {
  const pairs = startsPattern.slice();
  for (let control = 0; control < 0x20; control += 1)
    for (let byte = 0; byte < 256; byte += 1) {
      pairs[(control << 8) | byte] = 1;
      pairs[(byte << 8) | control] = 1;
    }
  // So do controls of two bytes.
  for (let byte = 0; byte < 256; byte += 1) pairs[(byte << 8) | 0xc2] = 1;
  for (let control = 0x80; control < 0xa0; control += 1) pairs[0xc200 | control] = 1;
  return pairs;
}

const IN_FORM = 1;
const ENDS_FORM = 2;

function markForm(automaton: ByteAutomaton, form: Buffer, inForm: Uint8Array): void {
  let state = 0;
  for (const byte of form) {
    state = nextState(automaton, state, byte);
    inForm[state] = (inForm[state] as number) | IN_FORM;
  }
  inForm[state] = (inForm[state] as number) | ENDS_FORM;
}

function stateAfter(automaton: ByteAutomaton, bytes: Buffer): number {
  let state = 0;
  for (const byte of bytes) state = nextState(automaton, state, byte);
  return state;
}

/** What ends at a state ends there itself or at the end of one of its failure links, which are shallower. */
function lookups(
  automaton: ByteAutomaton,
  inForm: Uint8Array,
  begun: ReadonlyMap<number, unknown>,
): Pick<RedactionSet, "hit" | "formLength" | "aliveLength"> {
  const { fail, depth } = automaton;
  const hit = new Uint8Array(fail.length);
  const formLength = new Int32Array(fail.length);
  const aliveLength = new Int32Array(fail.length);
  const shallowFirst = [...depth.keys()].sort(
    (a, b) => (depth[a] as number) - (depth[b] as number),
  );
  for (const state of shallowFirst) {
    const suffix = fail[state] as number;
    const marks = inForm[state] as number;
    const own = depth[state] as number;
    formLength[state] = (marks & ENDS_FORM) === 0 ? (formLength[suffix] as number) : own;
    aliveLength[state] = (marks & IN_FORM) === 0 ? (aliveLength[suffix] as number) : own;
    if (formLength[state] !== 0 || begun.has(state) || hit[suffix] === 1) hit[state] = 1;
  }
  return { hit, formLength, aliveLength };
}
