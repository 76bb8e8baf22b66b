import { Unicode11Addon } from "@xterm/addon-unicode11";
import headless from "@xterm/headless";
import type { Terminal } from "@xterm/headless";
import { coreOf, newCell, type Cell, type CellBuffer, type EmulatorCore } from "./emulator-core.ts";
import { KeyboardProtocols } from "./keyboard-protocols.ts";
import { paintPlainRows, paintRows } from "./paint-rows.ts";
import { bufferText, cursorText, isNothingSaved, modesText, savedCursor } from "./screen-state.ts";
import { UnheldModes } from "./unheld-modes.ts";

/**
 * Undoes what an earlier screen may have left: alternate screen, mouse, focus, paste, keys, colours, charset, cursor. What a person has
 * above the screen stays. The stack of kitty's keyboard flags does too: only who pushed on it knows how much to take off.
 */
export const CLEAN =
  "\x1b[?1049l\x1b[?9;1000;1002;1003;1004;1005;1006;1015;1016;2004;2026;2031l\x1b[?5;45l\x1b[4;20l\x1b[!p\x1b>\x1b[?7h\x1b[?25h" +
  "\x1b[>4;0m\x1b[0 q\x1b]8;;\x1b\\\x1b(B\x1b)B\x0f\x1b[0m\x1b[H\x1b[2J";

/** The rows below the last one that shows something. */
const EMPTY_ROWS = /(?:\r\n)+$/;

/** A terminal's screen, kept by an emulator without a window, and the text that makes another terminal the same. */
export class Screen implements Disposable {
  /** for handlers of sequences; write to it by `write` only */
  readonly terminal: Terminal;
  readonly #core: EmulatorCore;
  readonly #cell: Cell;
  readonly #keyboard: KeyboardProtocols;
  readonly #unheld: UnheldModes;
  #title = "";

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
    // Emoji take the two cells that CLIs reckon with; the emulator's own tables are of Unicode 6. The page has the same ones.
    this.terminal.loadAddon(new Unicode11Addon());
    this.terminal.unicode.activeVersion = "11";
    this.#core = coreOf(this.terminal);
    this.#cell = newCell(this.terminal);
    this.#keyboard = new KeyboardProtocols(this.terminal);
    this.#unheld = new UnheldModes(this.terminal);
    this.terminal.onTitleChange((title) => {
      this.#title = title.slice(0, 1024);
    });
    this.terminal.parser.registerEscHandler({ final: "c" }, () => {
      this.#forget();
      return false;
    });
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
    return this.#core.coreService.isCursorHidden;
  }

  /** The flags of kitty's keyboard protocol that the program has set. */
  get keyboardFlags(): number {
    return this.#keyboard.flags;
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
  }

  /**
   * What makes a clean terminal of the same size like this one: the normal screen, the alternate one when it is shown, and all that
   * decides what the bytes that follow do, and what keys send. `plainBytes`: of the cells only the characters, and so many bytes of
   * them; a cell may hold more than anybody sees.
   */
  text(plainBytes?: number): string {
    const core = this.#core;
    const { normal, active } = core.buffers;
    const paint = (buffer: CellBuffer): string => {
      const rows = { start: buffer.ybase, end: buffer.ybase + this.rows - 1, cell: this.#cell };
      const painted =
        plainBytes === undefined
          ? paintRows(core, buffer, rows)
          : paintPlainRows(buffer, rows, plainBytes);
      return painted.replace(EMPTY_ROWS, "");
    };
    const alternateKeys = this.#keyboard.stackText("alternate");
    const parts: string[] = [];
    // They are kept while the other screen is away.
    if (active === normal && alternateKeys !== "")
      parts.push(`\x1b[?1047h${alternateKeys}\x1b[?1047l\x1b[H`);
    parts.push(paint(normal), this.#keyboard.stackText("normal"));
    if (active !== normal) {
      // Entering the other screen saves the cursor of this one, and gives the new one the style of the moment.
      const saved = savedCursor(core, normal);
      parts.push(bufferText(normal, this), saved.text, "\x1b[?1049h", saved.after);
      parts.push("\x1b[2J\x1b[H", paint(active), alternateKeys);
    }
    parts.push(bufferText(active, this));
    if (!isNothingSaved(active)) {
      const saved = savedCursor(core, active);
      parts.push(saved.text, "\x1b7", saved.after);
    }
    if (this.terminal.options.convertEol === true) parts.push("\x1b[20h");
    parts.push(
      this.#unheld.text(),
      modesText(core),
      this.#keyboard.otherKeysText(),
      cursorText(core, this.#cell),
    );
    return parts.join("");
  }

  /** Paints rows of the history from `start` on, about `count` of them: up to a row whose line does not go on in the next one. */
  historyText(start: number, count: number): { text: string; end: number } {
    const { normal } = this.#core.buffers;
    const end = sliceEnd(normal, start + count - 1);
    return { text: paintRows(this.#core, normal, { start, end, cell: this.#cell }), end };
  }

  [Symbol.dispose](): void {
    this.terminal.dispose();
  }

  #forget(): void {
    this.#keyboard.reset();
    this.#unheld.reset();
  }
}

/** The last row at or after `row` in the history whose line does not go on in the next one. */
function sliceEnd(buffer: CellBuffer, row: number): number {
  let end = Math.min(row, buffer.ybase - 1);
  while (end < buffer.ybase - 1 && buffer.lines.get(end + 1)?.isWrapped === true) end += 1;
  return end;
}
