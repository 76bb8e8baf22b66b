import type { Terminal } from "@xterm/headless";

/** Colours and styles of a cell, or of what is printed next; bits as in the constants below. */
export interface Style {
  readonly fg: number;
  readonly bg: number;
  readonly extended: {
    readonly underlineStyle: number;
    readonly underlineColor: number;
    readonly urlId: number;
  };
}

export interface Cell extends Style {
  getWidth(): number;
  getChars(): string;
}

export interface CellLine {
  readonly isWrapped: boolean;
  readonly length: number;
  loadCell(column: number, into: Cell): Cell;
  translateToString(trimRight: boolean): string;
}

/** How printed ASCII is replaced: the line drawing set, or a national one. */
export type Charset = Readonly<Record<string, string>>;

export interface CellBuffer {
  readonly x: number;
  readonly y: number;
  readonly ybase: number;
  readonly scrollTop: number;
  readonly scrollBottom: number;
  readonly savedX: number;
  readonly savedY: number;
  readonly savedCurAttrData: Style;
  readonly savedCharset: Charset | undefined;
  readonly tabs: Readonly<Record<number, boolean | undefined>>;
  readonly lines: { readonly length: number; get(row: number): CellLine | undefined };
}

/** What the emulator holds and its public face does not show. Its version is pinned; a test compares all of this. */
export interface EmulatorCore {
  readonly buffers: {
    readonly normal: CellBuffer;
    readonly alt: CellBuffer;
    readonly active: CellBuffer;
  };
  readonly coreService: {
    readonly isCursorHidden: boolean;
    readonly modes: { readonly insertMode: boolean };
    readonly decPrivateModes: {
      readonly applicationCursorKeys: boolean;
      readonly applicationKeypad: boolean;
      readonly bracketedPasteMode: boolean;
      readonly cursorBlink: boolean | undefined;
      readonly cursorStyle: "block" | "underline" | "bar" | undefined;
      readonly origin: boolean;
      readonly reverseWraparound: boolean;
      readonly sendFocus: boolean;
      readonly synchronizedOutput: boolean;
      readonly wraparound: boolean;
    };
  };
  readonly coreMouseService: {
    readonly activeProtocol: string;
    readonly activeEncoding: string;
  };
  readonly _charsetService: {
    readonly charset: Charset | undefined;
    readonly glevel: number;
    readonly _charsets: readonly (Charset | undefined)[];
  };
  readonly _oscLinkService: {
    getLinkData(id: number): { readonly id?: string; readonly uri: string } | undefined;
  };
  readonly _inputHandler: {
    readonly _curAttrData: Style;
    /** what a combining character that comes next joins; 0: nothing, something else was said since */
    readonly _parser: { readonly precedingJoinState: number };
  };
}

/** Bits of `Style.fg` and `Style.bg` as the emulator packs them. */
export const COLOUR_MODE = 0x3000000;
export const COLOUR_VALUE = 0xffffff;
export const PALETTE_16 = 0x1000000;
export const PALETTE_256 = 0x2000000;
export const FG = {
  inverse: 0x4000000,
  bold: 0x8000000,
  underline: 0x10000000,
  blink: 0x20000000,
  invisible: 0x40000000,
  struck: 0x80000000,
} as const;
export const BG = {
  italic: 0x4000000,
  dim: 0x8000000,
  extended: 0x10000000,
  protected: 0x20000000,
  overlined: 0x40000000,
} as const;

/** The emulator's inside. */
export function coreOf(terminal: Terminal): EmulatorCore {
  return (terminal as unknown as { _core: EmulatorCore })._core;
}

/** A cell to load others into. Not the one that a buffer has: it erases with that. */
export function newCell(terminal: Terminal): Cell {
  return terminal.buffer.normal.getNullCell() as unknown as Cell;
}
