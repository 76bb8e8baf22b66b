import type { Cell, CellBuffer, CellLine, EmulatorCore } from "./emulator-core.ts";
import { PLAIN, StyleWriter } from "./style-writer.ts";

/** The bits of a background's colour. */
const COLOURED = 0x3ffffff;

/**
 * Paints the rows from `start` to `end` of a buffer on a terminal of the same width, from the beginning of a line that is empty, with
 * plain style, and leaves that style behind. Lines that go on in the next row do so there too. `cell` is scratch.
 */
export function paintRows(
  { _oscLinkService: links }: EmulatorCore,
  buffer: CellBuffer,
  { start, end, cell }: { start: number; end: number; cell: Cell },
): string {
  const style = new StyleWriter(links);
  const parts: string[] = [];
  for (let row = start; row <= end; row++) {
    const line = buffer.lines.get(row);
    if (line === undefined) break;
    const wraps = row > start && line.isWrapped;
    // A row that scrolls in takes the background of the moment.
    if (row > start && !wraps) parts.push(style.withoutBackground(), "\r\n");
    const goesOn = row < end && buffer.lines.get(row + 1)?.isWrapped === true;
    parts.push(new RowPainter(line, cell, style, { goesOn, wraps }).text());
  }
  parts.push(style.to(PLAIN));
  return parts.join("");
}

/** The same rows without their styles, as far down as `bytes` of UTF-8 reach. */
export function paintPlainRows(
  buffer: CellBuffer,
  { start, end }: { start: number; end: number },
  bytes: number,
): string {
  let left = bytes;
  const rows: string[] = [];
  for (let row = start; row <= end; row++) {
    const text = buffer.lines.get(row)?.translateToString(true) ?? "";
    left -= Buffer.byteLength(text) + 2;
    if (left < 0) break;
    rows.push(text);
  }
  return rows.join("\r\n");
}

interface Joints {
  /** the next row goes on with this line: it is filled to its last column, behind which the terminal wraps by itself */
  goesOn: boolean;
  /** this row goes on with the line before: its first cell is printed, whatever it holds */
  wraps: boolean;
}

class RowPainter {
  readonly #line: CellLine;
  /** scratch */
  readonly #cell: Cell;
  readonly #style: StyleWriter;
  readonly #joints: Joints;
  readonly #end: number;

  constructor(line: CellLine, cell: Cell, style: StyleWriter, joints: Joints) {
    this.#line = line;
    this.#cell = cell;
    this.#style = style;
    this.#joints = joints;
    let end = line.length;
    while (!joints.goesOn && end > 0 && isBlank(line.loadCell(end - 1, cell))) end -= 1;
    this.#end = joints.wraps ? Math.max(1, end) : end;
  }

  text(): string {
    let text = "";
    for (let column = 0; column < this.#end;) {
      const cell = this.#line.loadCell(column, this.#cell);
      const isFirst = column === 0;
      const chars = cell.getChars();
      if (chars === "") {
        const count = this.#blanksFrom(column);
        text += this.#blank(this.#line.loadCell(column, cell), count);
        column += count;
      } else {
        text += this.#style.to(cell) + chars;
        column += Math.max(1, cell.getWidth());
        // Terminals differ in how wide they take it for: what follows is put where it belongs.
        if (isUncertain(chars) && column < this.#end) text += `\x1b[${column + 1}G`;
      }
      if (isFirst && this.#joints.wraps) text += this.#clearBehind(column);
    }
    return text;
  }

  /** Printing the first cell made this row, perhaps by scrolling: then all of it has the background of that cell. */
  #clearBehind(column: number): string {
    const plain = this.#style.withoutBackground();
    return plain === "" || column >= this.#line.length
      ? ""
      : `${plain}\x1b[${this.#line.length - column}X`;
  }

  /** Only printing moves on into the next line; elsewhere a blank stays one that nobody has written. */
  #blank(cell: Cell, count: number): string {
    const style = this.#style.to(cell);
    if (count === 1 || !isErased(cell)) return style + " ".repeat(count);
    const erase = (cell.bg & COLOURED) === 0 ? "" : `\x1b[${count}X`;
    return `${style}${erase}\x1b[${count}C`;
  }

  /** How many blanks of one style there are from `column` on. A cell that has to be printed counts by itself. */
  #blanksFrom(column: number): number {
    const { goesOn, wraps } = this.#joints;
    const { fg, bg } = this.#line.loadCell(column, this.#cell);
    if (wraps && column === 0) return 1;
    const end = goesOn ? this.#line.length - 1 : this.#end;
    let at = column + 1;
    for (; at < end; at++) {
      const next = this.#line.loadCell(at, this.#cell);
      if (next.getChars() !== "" || next.fg !== fg || next.bg !== bg) break;
    }
    return at - column;
  }
}

function isBlank(cell: Cell): boolean {
  return cell.getChars() === "" && cell.fg === 0 && cell.bg === 0;
}

/** A blank as erasing makes it: nothing but a background. */
function isErased({ fg, bg }: Cell): boolean {
  return fg === 0 && (bg & ~COLOURED) === 0;
}

/** Emoji, signs that may be shown as one, and clusters. */
function isUncertain(chars: string): boolean {
  const code = chars.codePointAt(0) ?? 0;
  return code >= 0x1f000 || (code >= 0x2600 && code < 0x2800) || chars.length > 1;
}
