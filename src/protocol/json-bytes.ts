/** 0: as it is; 1: `\u00XX`; else the letter after the backslash. */
const ESCAPE = new Uint8Array(256);
ESCAPE.fill(1, 0, 0x20);
for (const [byte, letter] of [
  [0x08, "b"],
  [0x09, "t"],
  [0x0a, "n"],
  [0x0c, "f"],
  [0x0d, "r"],
  [0x22, '"'],
  [0x5c, "\\"],
] as const)
  ESCAPE[byte] = letter.charCodeAt(0);

const HEX = Buffer.from("0123456789abcdef");
const BACKSLASH = 0x5c;

/** No byte becomes more than this many. */
export const MAX_ESCAPED = 6;

/**
 * Writes UTF-8 `bytes` as the inside of a JSON string into `target` at `at`; gives the position after it. The same text as
 * `JSON.stringify`, without the way through UTF-16 that makes one wide character slow down a whole piece. `target` must
 * have room for `MAX_ESCAPED * bytes.length`, and the caller has checked that the bytes are UTF-8.
 */
export function writeJsonText(bytes: Uint8Array, target: Uint8Array, at: number): number {
  let to = at;
  for (let from = 0; from < bytes.length; from += 1) {
    const byte = bytes[from] as number;
    const escape = ESCAPE[byte] as number;
    if (escape === 0) {
      target[to++] = byte;
      continue;
    }
    target[to++] = BACKSLASH;
    if (escape !== 1) {
      target[to++] = escape;
      continue;
    }
    target[to] = 0x75;
    target[to + 1] = 0x30;
    target[to + 2] = 0x30;
    target[to + 3] = HEX[byte >> 4] as number;
    target[to + 4] = HEX[byte & 15] as number;
    to += 5;
  }
  return to;
}
