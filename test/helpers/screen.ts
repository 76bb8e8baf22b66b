// What a terminal shows after some bytes.
import xterm from "@xterm/headless";

/** The text of the screen and of what scrolled away (5,000 lines), without trailing blanks. */
export async function screenOf(
  bytes: Buffer | string,
  cols: number,
  rows: number,
): Promise<string> {
  const terminal = new xterm.Terminal({ cols, rows, scrollback: 5000, allowProposedApi: true });
  try {
    await new Promise<void>((resolve) => terminal.write(bytes, resolve));
    const buffer = terminal.buffer.active;
    const lines = Array.from(
      { length: buffer.length },
      (_, y) => buffer.getLine(y)?.translateToString(true) ?? "",
    );
    return lines.join("\n").trimEnd();
  } finally {
    terminal.dispose();
  }
}

/** The texts of all output events of an asciicast v3 file, joined: what a player writes to its terminal. */
export function playedText(cast: string): string {
  return cast
    .split("\n")
    .slice(1)
    .filter((line) => line.startsWith("["))
    .map((line) => JSON.parse(line) as [number, string, string])
    .filter(([, code]) => code === "o")
    .map(([, , data]) => data)
    .join("");
}
