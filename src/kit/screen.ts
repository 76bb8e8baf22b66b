import { SerializeAddon } from "@xterm/addon-serialize";
import headless from "@xterm/headless";
import type { IBuffer, Terminal } from "@xterm/headless";

/**
 * Undoes what an earlier screen may have left: alternate screen, mouse, focus, paste, keys, colours, cursor. What a person has above
 * the screen stays.
 */
export const CLEAN =
  "\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1006l\x1b[?2004l\x1b[?2026l\x1b[!p\x1b[?7h\x1b[?25h\x1b[0m\x1b[H\x1b[2J";

/** A terminal's screen, kept by an emulator without a window, and the text that paints it again. */
export class Screen implements Disposable {
  /** for handlers of sequences; write to it by `write` only */
  readonly terminal: Terminal;
  readonly #serializer = new SerializeAddon();
  #regions = { normal: "", alternate: "" };
  #title = "";
  #cursorHidden = false;
  #sgrMouse = false;

  /** `scrollback`: rows above the screen that are kept. */
  constructor(size: { cols: number; rows: number }, scrollback: number) {
    this.terminal = new headless.Terminal({
      cols: size.cols,
      rows: size.rows,
      allowProposedApi: true,
      scrollback,
      logLevel: "off",
      // Without them the emulator keeps these queries from handlers too.
      windowOptions: {
        getWinSizePixels: true,
        getScreenSizePixels: true,
        getCellSizePixels: true,
        getWinSizeChars: true,
        getScreenSizeChars: true,
      },
    });
    this.terminal.loadAddon(this.#serializer);
    this.terminal.onTitleChange((title) => {
      this.#title = title.slice(0, 1024);
    });
    this.#watchModes();
  }

  get cols(): number {
    return this.terminal.cols;
  }

  get rows(): number {
    return this.terminal.rows;
  }

  get title(): string {
    return this.#title;
  }

  get cursorHidden(): boolean {
    return this.#cursorHidden;
  }

  /** Rows that have left the screen and are still known. */
  get historyRows(): number {
    return this.terminal.buffer.normal.baseY;
  }

  write(bytes: Buffer | string, done?: () => void): void {
    this.terminal.write(bytes, done);
  }

  resize(size: { cols: number; rows: number }): void {
    this.terminal.resize(size.cols, size.rows);
    this.#forgetRegions();
  }

  reset(): void {
    this.terminal.reset();
    this.#forgetRegions();
    this.#cursorHidden = false;
    this.#sgrMouse = false;
  }

  /** What paints the normal screen, the alternate one when it is shown, modes and cursor, on a terminal that is clean. */
  text(): string {
    return (
      this.#serializer.serialize({ scrollback: 0 }) +
      this.#region() +
      (this.#sgrMouse ? "\x1b[?1006h" : "") +
      (this.#cursorHidden ? "\x1b[?25l" : "")
    );
  }

  /** Paints rows of the history from `start` on, about `count` of them: up to a row whose line does not go on in the next one. */
  historyText(start: number, count: number): { text: string; end: number } {
    const { normal } = this.terminal.buffer;
    const end = sliceEnd(normal, start + count - 1);
    const options = { range: { start, end }, excludeAltBuffer: true, excludeModes: true };
    return { text: this.#serializer.serialize(options), end };
  }

  [Symbol.dispose](): void {
    this.terminal.dispose();
  }

  #watchModes(): void {
    const { parser } = this.terminal;
    for (const [final, on] of [
      ["h", true],
      ["l", false],
    ] as const)
      parser.registerCsiHandler({ prefix: "?", final }, (params) => {
        if (params.includes(25)) this.#cursorHidden = !on;
        if (params.includes(1006)) this.#sgrMouse = on;
        return false;
      });
    // The margins of scrolling, which the serialiser does not know.
    parser.registerCsiHandler({ final: "r" }, (params) => {
      this.#regions[this.terminal.buffer.active.type] = params.join(";");
      return false;
    });
    parser.registerCsiHandler({ intermediates: "!", final: "p" }, () => {
      this.#forgetRegions();
      return false;
    });
    parser.registerEscHandler({ final: "c" }, () => {
      this.#forgetRegions();
      this.#cursorHidden = false;
      return false;
    });
  }

  /** Setting the margins moves the cursor home; it is put back. */
  #region(): string {
    const { active } = this.terminal.buffer;
    const region = this.#regions[active.type];
    if (region === "" || region === "0") return "";
    return `\x1b[${region}r\x1b[${active.cursorY + 1};${active.cursorX + 1}H`;
  }

  #forgetRegions(): void {
    this.#regions = { normal: "", alternate: "" };
  }
}

/** The last row at or after `row` in the history whose line does not go on in the next one. */
function sliceEnd(buffer: IBuffer, row: number): number {
  let end = Math.min(row, buffer.baseY - 1);
  while (end < buffer.baseY - 1 && buffer.getLine(end + 1)?.isWrapped === true) end += 1;
  return end;
}
