// All that a terminal holds, to compare two of them by.
import type { Terminal } from "@xterm/headless";
import {
  BG,
  COLOUR_MODE,
  COLOUR_VALUE,
  coreOf,
  FG,
  newCell,
  type CellBuffer,
  type Charset,
  type Style,
} from "../../src/kit/emulator-core.ts";

/** Only what can be seen of a style: neither what is left over in a colour nor how a link is underlined below its dashes. */
function styleOf({ fg, bg, extended }: Style, uri: (id: number) => string): string {
  const isExtended = (bg & BG.extended) !== 0;
  const link = isExtended ? uri(extended.urlId) : "";
  const isUnderlined = (fg & FG.underline) !== 0;
  const kind = isExtended && isUnderlined && link === "" ? Math.max(1, extended.underlineStyle) : 1;
  const colour = isExtended && (isUnderlined || link !== "") ? seenOf(extended.underlineColor) : 0;
  const words = [seenOf(fg), seenOf(bg & ~BG.extended), kind, colour];
  return words.map((word) => (word >>> 0).toString(16)).join("/") + link;
}

function seenOf(word: number): number {
  const mode = word & COLOUR_MODE;
  if (mode === COLOUR_MODE) return word;
  return mode === 0 ? word & ~COLOUR_VALUE : word & ~0xffff00;
}

function charsetName(charset: Charset | undefined): string {
  return charset === undefined ? "B" : (charset["q"] ?? charset["#"] ?? "other");
}

/** Everything that decides what the terminal shows and what it does with what follows, as text. `rows`: from this row of its lines on. */
export function stateOf(terminal: Terminal): Record<string, unknown> {
  const core = coreOf(terminal);
  const { normal, alt, active } = core.buffers;
  const { cols, rows } = terminal;
  const uri = (id: number) => {
    const link = core._oscLinkService.getLinkData(id);
    return link === undefined ? "" : ` ${link.id ?? ""};${link.uri}`;
  };
  const bufferState = (buffer: CellBuffer) => {
    const cell = newCell(terminal);
    const lines = Array.from({ length: rows }, (_, row) => {
      const line = buffer.lines.get(buffer.ybase + row);
      const cells: string[] = [];
      for (let at = 0; at < cols; at++) {
        line?.loadCell(at, cell);
        const isHidden = cell.getWidth() === 0 && cell.getChars() === "";
        // A blank that was never written looks like one that was.
        cells.push(isHidden ? "" : `${cell.getChars() || " "} ${styleOf(cell, uri)}`);
      }
      // Only of a screen's own rows can be said that they go on.
      return [row > 0 && line?.isWrapped === true ? "goes on" : "begins", ...cells];
    });
    return {
      lines,
      margins: [buffer.scrollTop, buffer.scrollBottom],
      saved: [
        Math.min(buffer.savedX, cols - 1),
        Math.max(0, buffer.savedY - buffer.ybase),
        styleOf(
          {
            ...buffer.savedCurAttrData,
            extended: { underlineStyle: 0, underlineColor: 0, urlId: 0 },
          },
          uri,
        ),
        charsetName(buffer.savedCharset),
      ],
      tabs: Array.from({ length: cols }, (_, at) => at).filter((at) => buffer.tabs[at] === true),
    };
  };
  const { synchronizedOutput: _, ...modes } = core.coreService.decPrivateModes;
  const sets = core._charsetService;
  return {
    active: active === alt ? "alternate" : "normal",
    normal: bufferState(normal),
    ...(active === alt ? { alternate: bufferState(alt) } : {}),
    cursor: [active.x, active.y],
    joins: core._inputHandler._parser.precedingJoinState,
    style: styleOf(core._inputHandler._curAttrData, uri),
    charsets: [sets.glevel, charsetName(sets.charset)],
    modes,
    insert: core.coreService.modes.insertMode,
    cursorHidden: core.coreService.isCursorHidden,
    mouse: [core.coreMouseService.activeProtocol, core.coreMouseService.activeEncoding],
  };
}

/** What two states differ in: the path and both values, the first few. */
export function differences(one: unknown, other: unknown, at = ""): string[] {
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null)
    return one === other ? [] : [`${at}: ${String(one)} <> ${String(other)}`];
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...keys]
    .flatMap((key) =>
      differences(
        (one as Record<string, unknown>)[key],
        (other as Record<string, unknown>)[key],
        `${at}.${key}`,
      ),
    )
    .slice(0, 5);
}
