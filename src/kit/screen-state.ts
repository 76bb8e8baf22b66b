import type { Cell, CellBuffer, Charset, EmulatorCore, Style } from "./emulator-core.ts";
import { BG } from "./emulator-core.ts";
import { PLAIN, StyleWriter } from "./style-writer.ts";

const MOUSE: Readonly<Record<string, number>> = { X10: 9, VT200: 1000, DRAG: 1002, ANY: 1003 };
const MOUSE_ENCODINGS: Readonly<Record<string, number>> = { SGR: 1006, SGR_PIXELS: 1016 };
const CURSORS = { block: 1, underline: 3, bar: 5 };
const TAB_STOPS = 8;
const LOCKING_SHIFTS = ["", "\x0e", "\x1bn", "\x1bo"];

/** Cells hold what was printed, so of charsets these can be told apart; a program that uses another one prints ASCII with it. */
function designationOf(charset: Charset | undefined): string {
  if (charset?.["q"] === "─") return "0";
  return charset?.["#"] === "£" && charset["@"] === undefined ? "A" : "B";
}

function goTo(row: number, column: number): string {
  return `\x1b[${row + 1};${column + 1}H`;
}

/** Sets what a buffer keeps for itself, with the cursor and the style left somewhere: margins, and tab stops where they are not usual. */
export function bufferText(
  buffer: CellBuffer,
  { cols, rows }: { cols: number; rows: number },
): string {
  const { scrollTop, scrollBottom, tabs } = buffer;
  const isWhole = scrollTop === 0 && scrollBottom === rows - 1;
  const stops = Array.from({ length: cols }, (_, column) => column).filter(
    (at) => tabs[at] === true,
  );
  const isUsual =
    stops.length === Math.ceil(cols / TAB_STOPS) && stops.every((at) => at % TAB_STOPS === 0);
  const marked = stops.map((at) => `\x1b[${at + 1}G\x1bH`);
  return (
    (isWhole ? "" : `\x1b[${scrollTop + 1};${scrollBottom + 1}r`) +
    (isUsual ? "" : `\x1b[3g${marked.join("")}`)
  );
}

/** Goes to where the cursor was saved, with the style and charset that were saved with it; `after` brings back the plain ones. */
export function savedCursor(
  core: EmulatorCore,
  { savedX, savedY, ybase, savedCurAttrData: saved, savedCharset }: CellBuffer,
): { text: string; after: string } {
  const writer = new StyleWriter(core._oscLinkService);
  const style: Style = { ...PLAIN, fg: saved.fg, bg: saved.bg & ~BG.extended };
  const designation = designationOf(savedCharset);
  const place = goTo(Math.max(0, savedY - ybase), savedX);
  const charset = designation === "B" ? "" : `\x1b(${designation}`;
  return {
    text: place + writer.to(style) + charset,
    after: writer.to(PLAIN) + (charset === "" ? "" : "\x1b(B"),
  };
}

/** True when nothing was saved, or what is as good as that. */
export function isNothingSaved({
  savedX,
  savedY,
  ybase,
  savedCurAttrData,
  savedCharset,
}: CellBuffer): boolean {
  const isHome = savedX === 0 && savedY <= ybase;
  return (
    isHome && savedCurAttrData.fg === 0 && savedCurAttrData.bg === 0 && savedCharset === undefined
  );
}

/**
 * Sets the modes that the emulator knows. Not the mode of frames (2026): what was painted would be held back until the program's next
 * one ends; and the mode of in-band sizes, whose reports are answers.
 */
export function modesText({ coreService, coreMouseService }: EmulatorCore): string {
  const modes = coreService.decPrivateModes;
  const mouse = MOUSE[coreMouseService.activeProtocol];
  const encoding = MOUSE_ENCODINGS[coreMouseService.activeEncoding];
  const { cursorStyle: style, cursorBlink } = modes;
  const parts = [
    coreService.modes.insertMode && "\x1b[4h",
    modes.applicationCursorKeys && "\x1b[?1h",
    modes.applicationKeypad && "\x1b=",
    !modes.wraparound && "\x1b[?7l",
    modes.reverseWraparound && "\x1b[?45h",
    mouse !== undefined && `\x1b[?${mouse}h`,
    encoding !== undefined && `\x1b[?${encoding}h`,
    modes.sendFocus && "\x1b[?1004h",
    modes.bracketedPasteMode && "\x1b[?2004h",
    style !== undefined && `\x1b[${CURSORS[style] + (cursorBlink === true ? 0 : 1)} q`,
    coreService.isCursorHidden && "\x1b[?25l",
    modes.origin && "\x1b[?6h",
  ];
  return parts.filter((part) => part !== false).join("");
}

function charsetsText({
  _charsetService: { charset, glevel, _charsets: sets },
}: EmulatorCore): string {
  const designations = ["(", ")", "*", "+"].map((final, level) => {
    const designation = designationOf(level === glevel ? charset : sets[level]);
    return designation === "B" ? "" : `\x1b${final}${designation}`;
  });
  return designations.join("") + (LOCKING_SHIFTS[glevel] ?? "");
}

/** The style of what is printed next. A colour of underlining may wait in it for the underlining, and is not marked until then. */
function penOf({ fg, bg, extended }: Style): Style {
  const { underlineStyle, underlineColor, urlId } = extended;
  const isMarked = (bg & BG.extended) !== 0;
  return {
    fg,
    bg: bg | BG.extended,
    extended: {
      underlineStyle: isMarked ? underlineStyle : 0,
      underlineColor,
      urlId: isMarked ? urlId : 0,
    },
  };
}

/**
 * Sets style, charsets and cursor, the last things to be said, on a terminal with the modes of this one: the cursor behind the last
 * column waits there to wrap, and what combines with the last character will still do so. `cell` is scratch.
 */
export function cursorText(core: EmulatorCore, cell: Cell): string {
  const { active } = core.buffers;
  const { x, y, ybase, scrollTop } = active;
  const { _curAttrData: current, _parser: parser } = core._inputHandler;
  const top = core.coreService.decPrivateModes.origin ? scrollTop : 0;
  const writer = new StyleWriter(core._oscLinkService);
  const line = active.lines.get(ybase + y);
  const waits = x >= (line?.length ?? 0);
  const joins = parser.precedingJoinState !== 0;
  const end = (): string => writer.toPen(penOf(current)) + charsetsText(core);
  if (line === undefined || x === 0 || !(waits || joins)) return end() + goTo(y - top, x);
  const column = line.loadCell(x - 1, cell).getWidth() === 0 && x > 1 ? x - 2 : x - 1;
  line.loadCell(column, cell);
  const chars = cell.getChars() || " ";
  const place = goTo(y - top, column);
  // Said again so that nothing joins what was printed.
  const isHidden = core.coreService.isCursorHidden;
  if (!joins) return `${place}${writer.to(cell)}${chars}\x1b[?25${isHidden ? "l" : "h"}${end()}`;
  // Where printing inserts, what is printed anew first makes its room.
  const room = core.coreService.modes.insertMode ? `\x1b[${x - column}P` : "";
  return end() + place + room + chars;
}
