/** A key or report as a terminal sends it, as far as a viewer looks at it. */
export interface Key {
  /** Ctrl-] */
  readonly isPrefix: boolean;
  readonly isRelease: boolean;
  /** nothing that a person pressed to type: mouse, focus, an answer, Shift and its like */
  readonly isReport: boolean;
  /** the character without modifiers; empty for other keys */
  readonly letter: string;
}

const PREFIX = "\u001D";
const PREFIX_CODE = 93;
const NONE = { isPrefix: false, isRelease: false, isReport: false, letter: "" };
/** The kitty protocol: key, with Shift, in the layout of reference; modifiers, press or repeat or release. */
const KITTY = /^\u001B\[(\d+)(?::\d*)?(?::(\d+))?(?:;(\d*)(?::(\d+))?)?(?:;[\d:]*)?u$/;
const OTHER_KEYS = /^\u001B\[27;(\d+);(\d+)~$/;
/** The same protocol for keys that had a sequence before. */
const OLD_KEY_RELEASE = /^\u001B\[\d+;\d+:3[~A-Z]$/;
const REPORT = /^\u001B\[(?:M|[IO]$|<[\d;]*[Mm]$|\?.*[cnuy]$|[\d;]*[Rt]$)/s;
const CONTROL = 4;
/** Caps Lock and Num Lock do not count. */
const LOCKS = 64 | 128;

/** Reads one whole key. */
export function readKey(text: string): Key {
  if (text === PREFIX) return { ...NONE, isPrefix: true };
  if (text.length === 1) return { ...NONE, letter: text };
  const kitty = KITTY.exec(text);
  if (kitty !== null) {
    const [, code = "", reference, modifiers = "", event] = kitty;
    // Where the layout has another script, its key counts as what it is on a Latin keyboard.
    const meant = Number(code) < 0x80 ? code : (reference ?? code);
    return keyOf(Number(meant), Number(modifiers || "1"), event === "3");
  }
  const other = OTHER_KEYS.exec(text);
  if (other !== null) return keyOf(Number(other[2]), Number(other[1]), false);
  return { ...NONE, isRelease: OLD_KEY_RELEASE.test(text), isReport: REPORT.test(text) };
}

function keyOf(code: number, modifiers: number, isRelease: boolean): Key {
  const held = (modifiers - 1) & ~LOCKS;
  const isPrefix = held === CONTROL && code === PREFIX_CODE;
  const letter = held === 0 && code < 0x80 ? String.fromCodePoint(code) : "";
  const isReport = (code >= 57_441 && code <= 57_454) || (code >= 57_358 && code <= 57_360);
  return { isPrefix, isRelease, isReport, letter };
}
