/** 0: as it is; 1: `\u00XX`; 2: part of a character of more than one byte; else the letter after the backslash. */
const KIND = new Uint8Array(256);
KIND.fill(1, 0, 0x20);
KIND.fill(2, 0x80);
for (const [byte, letter] of [
  [0x08, "b"],
  [0x09, "t"],
  [0x0a, "n"],
  [0x0c, "f"],
  [0x0d, "r"],
  [0x22, '"'],
  [0x5c, "\\"],
] as const)
  KIND[byte] = letter.charCodeAt(0);

const HEX = Buffer.from("0123456789abcdef");
const BACKSLASH = 0x5c;

/** No byte becomes more than this many. */
export const MAX_ESCAPED = 6;

/**
 * Writes UTF-8 `bytes` as the inside of a JSON string into `target` at `at`, up to the first byte that is no UTF-8. Gives how many were
 * read, and the position after what was written. The same text as `JSON.stringify`, without the way through UTF-16 that makes one
 * wide character slow down a whole piece. `target` must have room for `MAX_ESCAPED` times the bytes.
 */
export function writeJsonText(
  bytes: Uint8Array,
  target: Uint8Array,
  at: number,
): { read: number; written: number } {
  const { length } = bytes;
  let read = 0;
  let to = at;
  for (;;) {
    let byte = 0;
    let kind = 0;
    // Most bytes go through here: a loop of its own is twice as fast as one that looks for the rest too.
    while (read < length) {
      byte = bytes[read] as number;
      kind = KIND[byte] as number;
      if (kind !== 0) break;
      target[to] = byte;
      to += 1;
      read += 1;
    }
    if (read === length) break;
    if (kind === 2) {
      const end = read + characterLength(bytes, read);
      if (end === read) break;
      for (; read < end; read += 1) {
        target[to] = bytes[read] as number;
        to += 1;
      }
      continue;
    }
    target[to] = BACKSLASH;
    read += 1;
    if (kind !== 1) {
      target[to + 1] = kind;
      to += 2;
      continue;
    }
    target[to + 1] = 0x75;
    target[to + 2] = 0x30;
    target[to + 3] = 0x30;
    target[to + 4] = HEX[byte >> 4] as number;
    target[to + 5] = HEX[byte & 15] as number;
    to += 6;
  }
  return { read, written: to };
}

/** How many bytes the character of more than one byte has that begins at `at`; 0 where none does, or not all of it is there. */
function characterLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at] as number;
  const length = first < 0xc2 || first > 0xf4 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (length === 0 || at + length > bytes.length) return 0;
  // No longer form than needed, no surrogate, nothing beyond U+10FFFF.
  const second = bytes[at + 1] as number;
  const least = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const most = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return 0;
  for (let next = at + 2; next < at + length; next += 1)
    if (((bytes[next] as number) & 0xc0) !== 0x80) return 0;
  return length;
}
