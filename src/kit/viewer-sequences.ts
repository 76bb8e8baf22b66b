/**
 * What of a program's escape sequences a person's terminal gets to see. A list of what may pass, not of what may not: terminals
 * have hundreds of sequences that answer, write the clipboard, run something or lock the keyboard, and get new ones every year.
 */

/** `ESC final`: cursor, index, tab stop, single and locking shifts, keypad, reset, end of a text. */
const ESCAPES = new Set("6789=>cDEHMNOVWno|}~\\");
/** `ESC x final` with a character set for `final`; `ESC # 8` and its like; UTF-8 on. */
const ESCAPES_WITH_MORE = /^(?:[()*+\-./].|#[34568]|%G)$/;

/**
 * `CSI mark parameters more final`, as mark, more and final: the cursor, erasing, scrolling, tab stops, colours, protected characters;
 * keys of the kitty protocol and of xterm, the pointer; cursor style, soft reset, columns, rectangles, a stack of styles. Some terminals
 * pass over mark or more: none is here that would ask without them (`>n`, `$t`, `$x`, `*x`).
 */
const CSIS = new Set([
  " q",
  " @",
  " A",
  ...words(`
    @ A B C D E F G H I J K L M P S T X Z \` a b d e f g j k m q r s u
    ?J ?K ?W "q >u <u =u >m >p >s !p '} '~ $r $v $z \${ #{ #} #p #q
  `),
]);
/** Insert or replace, and what Enter sends. Not the lock of the keyboard. */
const MODES = new Set(["4", "20"]);
/**
 * Private modes of screen, cursor, mouse, paste and keyboard. Not among them: what makes a terminal report at once (2048), speak another
 * language (2, 38), send keys that no viewer knows for its own (9001), or write a log.
 */
const PRIVATE_MODES = new Set(
  words(`
    1 3 4 5 6 7 8 9 12 13 25 40 41 45 47 66 67 69 80 95 1000 1001 1002 1003 1004 1005 1006 1007 1010 1011 1015 1016 1034
    1035 1036 1039 1045 1047 1048 1049 1070 2004 2026 2027 2031 8452
  `),
);
/** Of the operations on windows: the size in characters, and titles kept and brought back. */
const WINDOW = /^0*(?:8|22|23)(?:;[0-9]*)*$/;
/** Parameters with at most one mark before and one character after them. Readers of anything else differ. */
const PLAIN_HEAD = /^([<=>?]?)([0-9:;]*)([ -/]?)$/;

/** Texts by their number: titles, colours, links, notifications, the pointer, marks of prompts. */
const OSCS = words(`
  0 1 2 4 5 8 9 10 11 12 13 14 15 16 17 18 19 21 22 104 105 110 111 112 113 114 115 116 117 118 119 133
`);
const OSC_CODES = new Set(OSCS);
const OSC_BEGINNINGS = new Set(OSCS.flatMap((code) => [1, 2, 3].map((end) => code.slice(0, end))));
/** In these a `?` is a character like others; the rest set a value, and ask for it by a `?`. */
const PROSE_OSCS = new Set(words("0 1 2 8 9 133"));

/** Whether `ESC head final` may pass; `head` are the characters between, mostly none. */
export function isShownEscape(head: string, final: string): boolean {
  return head === "" ? ESCAPES.has(final) : ESCAPES_WITH_MORE.test(head + final);
}

/** Whether `CSI head final` may pass. */
export function isShownCsi(head: string, final: string): boolean {
  const [, mark, parameters, more] = PLAIN_HEAD.exec(head) ?? [];
  if (mark === undefined || parameters === undefined || more === undefined) return false;
  switch (mark + more + final) {
    case "h":
    case "l":
      return parameters.split(";").every((mode) => MODES.has(mode));
    case "?h":
    case "?l":
    case "?r":
    case "?s":
      return parameters.split(";").every((mode) => PRIVATE_MODES.has(mode));
    case "t":
      return WINDOW.test(parameters);
    default:
      return CSIS.has(mark + more + final);
  }
}

/** Whether the number of a text that may pass begins with these digits. */
export function beginsShownOsc(digits: string): boolean {
  return OSC_BEGINNINGS.has(digits);
}

/** Whether BEL may follow this number: those of colours that are set back. */
export function endsShownOsc(code: string): boolean {
  return code.length === 3 && OSC_CODES.has(code) && !PROSE_OSCS.has(code);
}

/** Whether `OSC code ; …` may pass. */
export function isShownOsc(code: string): boolean {
  return OSC_CODES.has(code);
}

/** Whether `byte` may stand in what follows `OSC code ;`; `isFirst`: only spaces came before it. */
export function isShownInOsc(code: string, byte: number, isFirst: boolean): boolean {
  if (byte === 0x3f && !PROSE_OSCS.has(code)) return false;
  // A number instead of a notification is another act, running a program among them; 4 is a progress bar.
  return !(code === "9" && isFirst && byte >= 0x30 && byte <= 0x39 && byte !== 0x34);
}

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}
