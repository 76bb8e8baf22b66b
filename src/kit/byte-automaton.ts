/**
 * Aho-Corasick over bytes. States that branch (and all of depth 0 and 1) have a dense row of 256 transitions that already follows
 * failure links; every other state is a link of a chain with one byte, one successor and a failure link. Ordinary data lives in the
 * dense rows, and a table of 20 secrets stays small enough for the processor's cache.
 */
export interface ByteAutomaton {
  /** states below this number own a row of `dense` */
  readonly denseCount: number;
  readonly dense: Int32Array;
  /** the one byte a chain state goes on with, -1 for none */
  readonly chainByte: Int16Array;
  readonly chainNext: Int32Array;
  /** the state of the longest proper suffix that begins a pattern */
  readonly fail: Int32Array;
  /** how many of the bytes just read can still become a match */
  readonly depth: Int32Array;
  /** length of the longest pattern that ends here, 0 for none */
  readonly matchLength: Int32Array;
  /**
   * 1 at `(first << 8) | second` where the two bytes begin a pattern. From a state of depth 0 or 1 nothing else leads deeper, so
   * where this is 0 the state need not be followed. All 1 if a pattern has one byte only.
   */
  readonly startsPattern: Uint8Array;
}

/** Builds the automaton of these patterns; empty patterns are ignored. State 0 is the start. */
export function buildByteAutomaton(patterns: readonly Buffer[]): ByteAutomaton {
  const trie = buildTrie(patterns);
  const order = breadthFirst(trie);
  const { number, denseCount } = numberStates(trie, order);
  const size = order.length;
  const automaton = {
    denseCount,
    dense: new Int32Array(denseCount * 256),
    chainByte: new Int16Array(size).fill(-1),
    chainNext: new Int32Array(size),
    fail: new Int32Array(size),
    depth: new Int32Array(size),
    matchLength: new Int32Array(size),
    startsPattern: new Uint8Array(1 << 16),
  };
  for (const pattern of patterns) {
    if (pattern.length === 1) automaton.startsPattern.fill(1);
    if (pattern.length > 1) automaton.startsPattern[pattern.readUInt16BE(0)] = 1;
  }
  for (const node of order) {
    const state = at(number, node);
    const depth = at(trie.depth, node);
    const fail = at(automaton.fail, state);
    automaton.depth[state] = depth;
    automaton.matchLength[state] =
      at(trie.terminal, node) === 1 ? depth : at(automaton.matchLength, fail);
    if (state < denseCount && state !== 0) {
      for (let byte = 0; byte < 256; byte++) {
        automaton.dense[(state << 8) | byte] = step(automaton, fail, byte);
      }
    }
    for (let child = at(trie.firstChild, node); child !== 0; child = at(trie.nextSibling, child)) {
      const byte = at(trie.byte, child);
      const childState = at(number, child);
      automaton.fail[childState] = depth === 0 ? 0 : step(automaton, fail, byte);
      if (state < denseCount) {
        automaton.dense[(state << 8) | byte] = childState;
      } else {
        automaton.chainByte[state] = byte;
        automaton.chainNext[state] = childState;
      }
    }
  }
  return automaton;
}

function step(automaton: ByteAutomaton, from: number, byte: number): number {
  let state = from;
  while (state >= automaton.denseCount && at(automaton.chainByte, state) !== byte) {
    state = at(automaton.fail, state);
  }
  return state >= automaton.denseCount
    ? at(automaton.chainNext, state)
    : at(automaton.dense, (state << 8) | byte);
}

interface Trie {
  byte: Uint8Array;
  firstChild: Int32Array;
  nextSibling: Int32Array;
  depth: Int32Array;
  terminal: Uint8Array;
}

function buildTrie(patterns: readonly Buffer[]): Trie {
  const bound = patterns.reduce((sum, pattern) => sum + pattern.length, 1);
  const trie = {
    byte: new Uint8Array(bound),
    firstChild: new Int32Array(bound),
    nextSibling: new Int32Array(bound),
    depth: new Int32Array(bound),
    terminal: new Uint8Array(bound),
  };
  let used = 1;
  for (const pattern of patterns) {
    let node = 0;
    for (const byte of pattern) {
      let child = at(trie.firstChild, node);
      while (child !== 0 && at(trie.byte, child) !== byte) child = at(trie.nextSibling, child);
      if (child === 0) {
        child = used++;
        trie.byte[child] = byte;
        trie.depth[child] = at(trie.depth, node) + 1;
        trie.nextSibling[child] = at(trie.firstChild, node);
        trie.firstChild[node] = child;
      }
      node = child;
    }
    if (node !== 0) trie.terminal[node] = 1;
  }
  return trie;
}

/** Parents before children, shallow before deep: a failure link always points to a state that is finished. */
function breadthFirst(trie: Trie): number[] {
  const order = [0];
  for (let index = 0; index < order.length; index++) {
    let child = at(trie.firstChild, order[index] as number);
    for (; child !== 0; child = at(trie.nextSibling, child)) order.push(child);
  }
  return order;
}

function numberStates(trie: Trie, order: number[]): { number: Int32Array; denseCount: number } {
  const isDense = (node: number) => {
    const child = at(trie.firstChild, node);
    return at(trie.depth, node) <= 1 || (child !== 0 && at(trie.nextSibling, child) !== 0);
  };
  const dense = order.filter(isDense);
  const chains = order.filter((node) => !isDense(node));
  const number = new Int32Array(trie.byte.length);
  [...dense, ...chains].forEach((node, index) => {
    number[node] = index;
  });
  return { number, denseCount: dense.length };
}

function at(array: Int32Array | Int16Array | Uint8Array, index: number): number {
  return array[index] as number;
}
