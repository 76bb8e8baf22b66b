/** An unfinished sequence at the end of a piece is kept up to this length. */
const MAX_HELD = 64;
const HELD = /\u001B(?:\[[0-?]*[ -/]*)?$/;
const SEQUENCE = /\u001B(?:\[([?>=<]?)([0-9;:]*)([ !"$']?)([a-zA-Z])|([=>cNO78]))/g;

/** Private modes that a program may leave on, each with what turns it off again. */
const PRIVATE_MODES: ReadonlySet<number> = new Set([
  1, 5, 6, 9, 12, 45, 66, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016, 2004, 2026,
  2031, 2048,
]);
const ALTERNATE_SCREENS: ReadonlySet<number> = new Set([47, 1047, 1049]);

/**
 * Watches the output of a program for what it changes of the person's terminal, so that exactly that can be undone when the
 * viewer ends in the middle of it.
 */
export class TerminalModes {
  #held = "";
  readonly #on = new Set<number>();
  readonly #screens = new Set<number>();
  #cursorHidden = false;
  #wrapOff = false;
  #insert = false;
  #region = false;
  #keypad = false;
  #kittyLevels = 0;
  #otherKeys = false;
  #cursorStyle = false;

  push(bytes: Buffer): void {
    const text = this.#held + bytes.toString("latin1");
    for (const match of text.matchAll(SEQUENCE)) {
      const [, marker = "", parameters = "", space = "", final = "", single] = match;
      if (single !== undefined) this.#single(single);
      else this.#control(marker, parameters, space, final);
    }
    const held = HELD.exec(text)?.[0] ?? "";
    this.#held = held.length > MAX_HELD ? "" : held;
  }

  /** The bytes that bring the terminal back, with the cursor at the beginning of a line. */
  restore(): string {
    const parts = ["\u001B[0m"];
    for (const mode of this.#on) parts.push(`\u001B[?${mode}l`);
    parts.push("\u001B[<u".repeat(Math.min(this.#kittyLevels, 16)));
    for (const screen of this.#screens) parts.push(`\u001B[?${screen}l`);
    if (this.#region) parts.push("\u001B7\u001B[r\u001B8");
    if (this.#insert) parts.push("\u001B[4l");
    if (this.#wrapOff) parts.push("\u001B[?7h");
    if (this.#keypad) parts.push("\u001B>");
    if (this.#otherKeys) parts.push("\u001B[>4;0m");
    if (this.#cursorStyle) parts.push("\u001B[0 q");
    if (this.#cursorHidden) parts.push("\u001B[?25h");
    parts.push("\u001B(B\u000F\r");
    return parts.join("");
  }

  #single(final: string): void {
    if (final === "=") this.#keypad = true;
    if (final === ">") this.#keypad = false;
    // A full reset brings everything back by itself.
    if (final === "c") {
      this.#on.clear();
      this.#screens.clear();
      this.#cursorHidden = this.#wrapOff = this.#insert = this.#region = this.#keypad = false;
      this.#kittyLevels = 0;
    }
  }

  #control(marker: string, parameters: string, space: string, final: string): void {
    const numbers = parameters.split(";").map(Number);
    const isSet = final === "h";
    if (marker === "?" && (isSet || final === "l")) {
      for (const mode of numbers) this.#privateMode(mode, isSet);
    } else if (marker === "" && (isSet || final === "l")) {
      if (numbers.includes(4)) this.#insert = isSet;
    } else if (marker === "" && final === "r" && space === "") this.#region = parameters !== "";
    else if (marker === ">" && final === "u") this.#kittyLevels += 1;
    else if (marker === "<" && final === "u")
      this.#kittyLevels = Math.max(0, this.#kittyLevels - Math.max(1, numbers[0] ?? 1));
    else if (marker === ">" && final === "m" && numbers[0] === 4)
      this.#otherKeys = (numbers[1] ?? 0) !== 0;
    else if (space === " " && final === "q") this.#cursorStyle = (numbers[0] ?? 0) !== 0;
  }

  #privateMode(mode: number, isSet: boolean): void {
    if (mode === 25) this.#cursorHidden = !isSet;
    else if (mode === 7) this.#wrapOff = !isSet;
    else {
      const set = ALTERNATE_SCREENS.has(mode)
        ? this.#screens
        : PRIVATE_MODES.has(mode)
          ? this.#on
          : null;
      if (isSet) set?.add(mode);
      else set?.delete(mode);
    }
  }
}
