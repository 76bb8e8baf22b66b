import xterm from "@xterm/headless";
import type { IBuffer, IMarker, Terminal } from "@xterm/headless";
import { readIntact, type CastSource } from "../protocol/asciicast.ts";

/** A piece of this many characters scrolls fewer lines than the terminal keeps, so no line is lost between two looks. */
const PIECE_CHARACTERS = 16_384;
const KEPT_LINES = 20_000;

/**
 * What a recording shows as plain text: the lines that scrolled off, then the last screen, wrapped lines joined.
 * Constant memory. Throws `recording_damaged` at the first line that is not right.
 */
export async function* plainTextOf(source: CastSource): AsyncGenerator<string> {
  let terminal: Terminal | null = null;
  // xterm answers each write on a timer: many small ones would cost more than their text.
  let held = "";
  const lines = new LineWriter();
  try {
    for await (const item of readIntact(source)) {
      if (item.kind === "header") terminal = openTerminal(item.header.cols, item.header.rows);
      if (item.kind !== "event" || terminal === null) continue;
      const { code, data } = item.event;
      if (code === "o") held += data;
      if (code !== "r" && held.length < PIECE_CHARACTERS) continue;
      for (const piece of pieces(held)) {
        await write(terminal, piece);
        yield* lines.scrolledOff(terminal);
      }
      held = "";
      if (code === "r") resize(terminal, data);
    }
    if (terminal === null) return;
    for (const piece of pieces(held)) {
      await write(terminal, piece);
      yield* lines.scrolledOff(terminal);
    }
    yield* lines.rest(terminal);
  } finally {
    terminal?.dispose();
  }
}

/** Hands out each line of the normal screen once, when it can no longer change. */
class LineWriter {
  /** the first line that was not handed out; xterm moves it as older lines are dropped */
  #next: IMarker | null = null;

  *scrolledOff(terminal: Terminal): Generator<string> {
    const buffer = terminal.buffer.normal;
    // A full-screen program has its own screen, which scrolls nothing off.
    if (terminal.buffer.active.type !== "normal") return;
    let end = buffer.baseY;
    // A line that goes on below waits for its end.
    while (end > 0 && buffer.getLine(end)?.isWrapped === true) end -= 1;
    yield* this.#take(buffer, end);
    this.#next?.dispose();
    this.#next = terminal.registerMarker(end - (buffer.baseY + buffer.cursorY)) ?? null;
  }

  *rest(terminal: Terminal): Generator<string> {
    const buffer = terminal.buffer.normal;
    let end = buffer.length;
    while (end > 0 && (buffer.getLine(end - 1)?.translateToString(true) ?? "") === "") end -= 1;
    yield* this.#take(buffer, end);
  }

  *#take(buffer: IBuffer, end: number): Generator<string> {
    const from = this.#next === null || this.#next.isDisposed ? 0 : this.#next.line;
    let joined = "";
    for (let at = from; at < end; at += 1) {
      const goesOn = buffer.getLine(at + 1)?.isWrapped === true;
      joined += buffer.getLine(at)?.translateToString(!goesOn) ?? "";
      if (goesOn && at + 1 < end) continue;
      yield `${joined.trimEnd()}\n`;
      joined = "";
    }
  }
}

function openTerminal(cols: number, rows: number): Terminal {
  return new xterm.Terminal({
    cols: Math.min(cols, 1000),
    rows: Math.min(rows, 1000),
    scrollback: KEPT_LINES,
    allowProposedApi: true,
    // It prints every sequence it does not know to the console otherwise.
    logLevel: "off",
  });
}

function resize(terminal: Terminal, data: string): void {
  const [cols, rows] = data.split("x").map(Number);
  if (cols !== undefined && rows !== undefined)
    terminal.resize(Math.min(Math.max(cols, 2), 1000), Math.min(Math.max(rows, 1), 1000));
}

function* pieces(text: string): Generator<string> {
  for (let at = 0; at < text.length; at += PIECE_CHARACTERS)
    yield text.slice(at, at + PIECE_CHARACTERS);
}

async function write(terminal: Terminal, text: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  terminal.write(text, resolve);
  await promise;
}
