// Makes inputs out of seeds: a random generator that can be repeated, and the usual small damages.
import { Buffer } from "node:buffer";

export type Random = () => number;

/** mulberry32: the same numbers for the same seed. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const MAX_BYTES = 64 * 1024;
/** Bytes and words at which parsers of these formats break. */
const WORDS = [
  "\r\n",
  "\r",
  "\n",
  "\0",
  " ",
  "\t",
  ":",
  ",",
  ";",
  "/",
  "\\",
  "..",
  "%2e",
  "%2f",
  "%25",
  "#",
  "?",
  "@",
  "*",
  "0\r\n\r\n",
  "ffffffff",
  "-1",
  "1e9",
  "Content-Length: 5\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Connection: close\r\n",
  "Host: a.test\r\n",
  "HTTP/1.0",
  "HTTP/1.1 200 OK\r\n",
  "\u00ff",
  "\u0016\u0003\u0001",
  "__proto__",
  '"',
  "{",
  "[",
  "\\u0000",
  "\ud800",
  "data: x\n\n",
].map((word) => Buffer.from(word, "latin1"));

/** One seed, or two spliced, with some damage. */
export function mutated(seeds: readonly Buffer[], random: Random): Buffer {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const below = (limit: number) => Math.floor(random() * (limit + 1));
  let bytes = Buffer.from(pick(seeds));
  if (random() < 0.2) {
    const other = pick(seeds);
    bytes = Buffer.concat([
      bytes.subarray(0, below(bytes.length)),
      other.subarray(below(other.length)),
    ]);
  }
  for (let turn = below(4); turn > 0; turn--) {
    const at = below(bytes.length);
    const to = Math.min(bytes.length, at + below(random() < 0.9 ? 8 : 400));
    const [before, part, after] = [
      bytes.subarray(0, at),
      bytes.subarray(at, to),
      bytes.subarray(to),
    ];
    const parts = pick([
      () => [before, after],
      () => [before, part, part, after],
      () => [before, pick(WORDS), part, after],
      () => [before, pick(WORDS), after],
      () => [before, Buffer.from(part).map((byte) => byte ^ (1 << below(7))), after],
      () => [before, Buffer.alloc(below(random() < 0.95 ? 4 : 4000), below(255)), part, after],
    ])();
    bytes = Buffer.concat(parts).subarray(0, MAX_BYTES);
  }
  return bytes;
}
