import type { Terminal } from "@xterm/headless";

/** Private modes that the emulator passes over and a person's terminal may know: reverse video, other encodings of the mouse, its wheel as arrows, told of dark and light. */
const MODES: ReadonlySet<number> = new Set([5, 1005, 1007, 1015, 2031]);
/** Colours of the text, the background, the cursor; the palette is asked for by 4. */
const COLOURS: readonly number[] = [10, 11, 12];
const MAX_COLOUR = 64;

/** State of a terminal that programs set and the emulator does not hold. */
export class UnheldModes {
  #modes = new Set<number>();
  #colours = new Map<string, string>();
  #progress = "";

  constructor({ parser }: Terminal) {
    for (const [final, isOn] of [
      ["h", true],
      ["l", false],
    ] as const)
      parser.registerCsiHandler({ prefix: "?", final }, (params) => {
        for (const mode of params)
          if (typeof mode === "number" && MODES.has(mode)) this.#set(mode, isOn);
        return false;
      });
    for (const code of COLOURS) {
      parser.registerOscHandler(code, (data) => {
        for (const [index, colour] of data.split(";").entries())
          if (COLOURS.includes(code + index)) this.#colour(`${code + index}`, colour);
        return false;
      });
      parser.registerOscHandler(code + 100, () => {
        this.#colours.delete(`${code}`);
        return false;
      });
    }
    parser.registerOscHandler(4, (data) => {
      const parts = data.split(";");
      for (let at = 0; at + 1 < parts.length; at += 2) {
        const index = Number(parts[at]);
        if (Number.isInteger(index) && index >= 0 && index < 256)
          this.#colour(`4;${index}`, parts[at + 1] ?? "");
      }
      return false;
    });
    parser.registerOscHandler(104, (data) => {
      if (data === "") for (const key of this.#colours.keys()) this.#forgetPalette(key);
      else for (const index of data.split(";")) this.#colours.delete(`4;${Number(index)}`);
      return false;
    });
    parser.registerOscHandler(9, (data) => {
      const progress = /^4;([0-4])(?:;([0-9]{1,3}))?$/.exec(data);
      if (progress !== null) this.#progress = progress[1] === "0" ? "" : data;
      return false;
    });
  }

  /** What sets all of it on a terminal that has none of it. */
  text(): string {
    const modes = [...this.#modes].map((mode) => `\x1b[?${mode}h`);
    const colours = [...this.#colours].map(([key, colour]) => `\x1b]${key};${colour}\x1b\\`);
    return [...modes, ...colours, this.#progress && `\x1b]9;${this.#progress}\x1b\\`].join("");
  }

  reset(): void {
    this.#modes = new Set();
    this.#colours = new Map();
    this.#progress = "";
  }

  #set(mode: number, isOn: boolean): void {
    if (isOn) this.#modes.add(mode);
    else this.#modes.delete(mode);
  }

  #colour(key: string, colour: string): void {
    if (/^[\w#:/.%, -]+$/.test(colour) && colour.length <= MAX_COLOUR)
      this.#colours.set(key, colour);
  }

  #forgetPalette(key: string): void {
    if (key.startsWith("4;")) this.#colours.delete(key);
  }
}
