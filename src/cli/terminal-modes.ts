/** An unfinished sequence at the end of a piece is kept up to this length. */
const MAX_HELD = 64;
const HELD = /\u001B(?:\[[0-?]*[ -/]*|\][0-9;]{0,8}|[ -/])?$/;
const SEQUENCE =
  /\u001B(?:\[([?>=<]?)([0-9;:]*)([ !"$']?)([a-zA-Z])|\]([0-9]+)(;4;[0-4])?|[ -/][0-~]|([=>cHNO78]))/g;

/** Private modes that a program may leave on, each with what turns it off again. */
const PRIVATE_MODES: ReadonlySet<number> = new Set([
  1, 5, 9, 12, 45, 66, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016, 2004, 2026, 2031,
  2048,
]);
const PASTE = 2004;
const ALTERNATE_SCREENS: ReadonlySet<number> = new Set([47, 1047, 1049]);
/** What sets a colour, a pointer's shape or a link, with what gives back the person's own. */
const TEXTS: ReadonlyMap<number, string> = new Map([
  [4, "\u001B]104\u001B\\"],
  [8, "\u001B]8;;\u001B\\"],
  [10, "\u001B]110\u001B\\"],
  [11, "\u001B]111\u001B\\"],
  [12, "\u001B]112\u001B\\"],
  [17, "\u001B]117\u001B\\"],
  [19, "\u001B]119\u001B\\"],
  [22, "\u001B]22;\u001B\\"],
]);
const NO_PROGRESS = "\u001B]9;4;0\u001B\\";
/** Tab stops every eight columns, as wide as a terminal is here. */
const USUAL_TABS = `\u001B[3g\r${"\u001B[8C\u001BH".repeat(125)}\r`;

/** Keyboard flags of kitty's protocol on one screen: how many are stacked up, and whether the lowest were set. */
interface Keyboard {
  levels: number;
  isSet: boolean;
}

/** Keeps the title that the terminal has, and gives it back. */
export const KEEP_TITLE = "\u001B[22;0t";
export const GIVE_BACK_TITLE = "\u001B[23;0t";

/**
 * Watches the output of a program for what it changes of the person's terminal, so that exactly that can be undone when the
 * viewer ends in the middle of it, or begins anew with another screen.
 */
export class TerminalModes {
  #held = "";
  #on = new Set<number>();
  #screens = new Set<number>();
  #texts = new Set<string>();
  #keyboards = newKeyboards();
  #cursorHidden = false;
  #wrapOff = false;
  #insert = false;
  #newLine = false;
  #origin = false;
  #region = false;
  #keypad = false;
  #tabs = false;
  #otherKeys = false;
  #cursorStyle = false;
  #protects = false;
  #pasteEnds = 0;

  /** The program wants to be told where a paste begins and ends. */
  get marksPastes(): boolean {
    return this.#on.has(PASTE);
  }

  /** How often the output told the terminal to mark no pastes. */
  get pasteEnds(): number {
    return this.#pasteEnds;
  }

  push(bytes: Buffer): void {
    const text = this.#held + bytes.toString("latin1");
    for (const match of text.matchAll(SEQUENCE)) {
      const [, marker = "", parameters = "", space = "", final, code, progress, single] = match;
      if (single !== undefined) this.#single(single);
      else if (code !== undefined) this.#text(Number(code), progress);
      else if (final !== undefined) this.#control(marker, parameters, space, final);
    }
    const held = HELD.exec(text)?.[0] ?? "";
    this.#held = held.length > MAX_HELD ? "" : held;
  }

  /** The bytes that bring the terminal back, with the cursor at the beginning of a line. What was changed is forgotten. */
  restore(): string {
    const text = this.#restoring();
    this.#forget();
    this.#cursorStyle = this.#otherKeys = false;
    return text;
  }

  #restoring(): string {
    const parts = ["\u001B[0m", ...this.#texts];
    const { main, other } = this.#keyboards;
    const isOther = this.#screens.size > 0;
    // Each screen has flags of its own, which are reached from there only.
    if (isOther) parts.push(undo(other));
    for (const mode of this.#on) parts.push(`\u001B[?${mode}l`);
    // It sends the cursor home; on the other screen that does not matter.
    if (this.#origin) parts.push(`\u001B[?6l${isOther ? "" : "\u001B[9999H"}`);
    for (const screen of this.#screens) parts.push(`\u001B[?${screen}l`);
    parts.push(undo(main));
    if (this.#region) parts.push("\u001B7\u001B[r\u001B8");
    if (this.#insert) parts.push("\u001B[4l");
    if (this.#newLine) parts.push("\u001B[20l");
    if (this.#wrapOff) parts.push("\u001B[?7h");
    if (this.#keypad) parts.push("\u001B>");
    if (this.#tabs) parts.push(USUAL_TABS);
    if (this.#otherKeys) parts.push("\u001B[>4;0m");
    if (this.#cursorStyle) parts.push("\u001B[0 q");
    if (this.#protects) parts.push('\u001B[0"q');
    if (this.#cursorHidden) parts.push("\u001B[?25h");
    parts.push("\u001B(B\u001B)B\u000F\r");
    return parts.join("");
  }

  #single(final: string): void {
    if (final === "=") this.#keypad = true;
    if (final === ">") this.#keypad = false;
    if (final === "H") this.#tabs = true;
    // A full reset brings everything back by itself; modifyOtherKeys and the cursor's shape not in every terminal.
    if (final === "c") this.#forget();
  }

  #forget(): void {
    this.#pasteEnds += 1;
    this.#on = new Set();
    this.#screens = new Set();
    this.#texts = new Set();
    this.#keyboards = newKeyboards();
    this.#cursorHidden = this.#wrapOff = this.#insert = this.#newLine = this.#origin = false;
    this.#region = this.#keypad = this.#tabs = this.#protects = false;
  }

  #text(code: number, progress: string | undefined): void {
    const undone = code === 9 && progress !== undefined ? NO_PROGRESS : TEXTS.get(code);
    if (undone !== undefined) this.#texts.add(undone);
  }

  #control(marker: string, parameters: string, space: string, final: string): void {
    const numbers = parameters.split(";").map(Number);
    const isSet = final === "h";
    if (marker === "?" && (isSet || final === "l")) {
      for (const mode of numbers) this.#privateMode(mode, isSet);
    } else if (marker === "" && (isSet || final === "l")) {
      if (numbers.includes(4)) this.#insert = isSet;
      if (numbers.includes(20)) this.#newLine = isSet;
    } else if (marker === "" && final === "r" && space === "") this.#region = parameters !== "";
    else if (marker === "" && final === "g") this.#tabs = true;
    else if (marker !== "" && final === "u") this.#keys(marker, numbers[0] ?? 0);
    else if (marker === ">" && final === "m" && numbers[0] === 4)
      this.#otherKeys = (numbers[1] ?? 0) !== 0;
    else if (space === " " && final === "q") this.#cursorStyle = (numbers[0] ?? 0) !== 0;
    else if (space === '"' && final === "q") this.#protects = numbers[0] === 1;
  }

  #keys(marker: string, number: number): void {
    const keyboard = this.#screens.size === 0 ? this.#keyboards.main : this.#keyboards.other;
    if (marker === ">") keyboard.levels += 1;
    if (marker === "<") keyboard.levels = Math.max(0, keyboard.levels - Math.max(1, number));
    if (marker === "=" && keyboard.levels === 0) keyboard.isSet = true;
  }

  #privateMode(mode: number, isSet: boolean): void {
    if (mode === 25) this.#cursorHidden = !isSet;
    else if (mode === 7) this.#wrapOff = !isSet;
    else if (mode === 6) this.#origin = isSet;
    else if (ALTERNATE_SCREENS.has(mode)) {
      // Whichever of the three it is: leaving brings back the one main screen.
      if (isSet) this.#screens.add(mode);
      else this.#screens.clear();
    } else if (PRIVATE_MODES.has(mode)) {
      if (mode === PASTE && !isSet) this.#pasteEnds += 1;
      if (isSet) this.#on.add(mode);
      else this.#on.delete(mode);
    }
  }
}

function newKeyboards(): { main: Keyboard; other: Keyboard } {
  return { main: { levels: 0, isSet: false }, other: { levels: 0, isSet: false } };
}

function undo({ levels, isSet }: Keyboard): string {
  return (levels === 0 ? "" : `\u001B[<${levels}u`) + (isSet ? "\u001B[=0;1u" : "");
}
