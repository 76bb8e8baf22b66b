// Output of programs to try terminals with: made up, and recorded.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";

const pick = <T>(random: (below: number) => number, from: readonly T[]): T =>
  from[random(from.length)] as T;

/** A sequence of numbers below a bound, the same for the same seed. */
export function seededRandom(seed: number): (below: number) => number {
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % below;
  };
}

/** Sequences of a program that uses all of a terminal, one after the other. */
export function livelySequences(
  seed: number,
  count: number,
  size: { cols: number; rows: number },
): string[] {
  const random = seededRandom(seed);
  const row = () => 1 + random(size.rows);
  const column = () => 1 + random(size.cols);
  const kinds: (() => string)[] = [
    () => `\x1b[${row()};${column()}H`,
    () => `\x1b[${row()};${size.cols - 1}H`,
    () => `\x1b[${30 + random(8)};1m`,
    () =>
      `\x1b[${pick(random, [2, 3, 4, 5, 7, 8, 9, 53, "4:3", "4:5", "58:2::9:8:7", "58:5:99"])}m`,
    () => `\x1b[38;2;${random(255)};${random(255)};9m`,
    () => `\x1b[${pick(random, ["48;5;17", "44", "103", "48;2;1;2;3", "49"])}m`,
    () => "\x1b[0m",
    () => "héllo wörld ",
    () => "日本語",
    () => pick(random, ["😀", "✅ done", "⚠️", "❤️", "👩‍💻", "🇳🇴", "e\u0301"]),
    () => "x".repeat(1 + random(size.cols)),
    () => "\r\n",
    () => "\n",
    () => "\x1bM",
    () => `\x1b[${random(3)}K`,
    () => `\x1b[${random(3)}J`,
    () => `\x1b[${1 + random(5)}X`,
    () => `\x1b[${1 + random(3)}${pick(random, ["P", "@", "L", "M", "S", "T", "b"])}`,
    () => `\x1b]2;title ${random(9)}\x07`,
    () => pick(random, ["\x1b[?25l", "\x1b[?25h"]),
    () => "\x1bP$q q\x1b\\",
    () => pick(random, ["\x1b[?1049h", "\x1b[?1049l", "\x1b[?1047h", "\x1b[?1047l"]),
    () => `\x1b[${1 + random(5)};${size.rows - random(5)}r`,
    () => "\x1b[r",
    // The emulator gives back a saved charset without its designation, so no program uses both here.
    () =>
      pick(
        random,
        seed % 2 === 0
          ? ["\x1b7", "\x1b8", "\x1b7", "\x1b[s", "\x1b[u", "\x1b(0", "\x1b(B"]
          : ["\x1b(0", "\x1b(B", "\x1b)0", "\x0e", "\x0f", "\x1b(A"],
      ),
    () =>
      `\x1b[?${pick(random, [1, 6, 9, 45, 66, 1000, 1002, 1003, 1004, 1006, 1016, 2004, 2026])}${pick(random, ["h", "l"])}`,
    () => pick(random, ["\x1b[4h", "\x1b[4l"]),
    () => pick(random, ["\x1b=", "\x1b>"]),
    () => `\x1b[${random(7)} q`,
    () => "lqqqk #",
    () => pick(random, ["\x1bH", "\x1b[g", "\x1b[3g", "\t", "\t"]),
    () => `\x1b]8;${pick(random, ["", "id=7"])};https://example.test/a\x1b\\a link\x1b]8;;\x1b\\`,
    () => `\x1b[>${random(32)}u`,
    () => `\x1b[<${1 + random(2)}u`,
    () => `\x1b[=${random(32)};${1 + random(3)}u`,
    () => `\x1b[>4;${random(3)}m`,
    () => pick(random, ['\x1b[1"q', '\x1b[0"q', "\x1b[?2J", "\x1b[?2K"]),
    () => pick(random, ["\x1b[!p", "\x1bc", "\x1b#8", "\b", "\b\b"]),
  ];
  return Array.from({ length: count }, () => pick(random, kinds)());
}

const CASTS = "../shared/fixtures/casts";

/** The recordings of real CLIs, when their folder is there: each one's size and its output. */
export function recordedOutputs(): { name: string; cols: number; rows: number; bytes: Buffer }[] {
  if (!existsSync(CASTS)) return [];
  const names = readdirSync(CASTS).filter((name) => name.endsWith(".cast"));
  return names.map((name) => {
    const [head = "", ...lines] = readFileSync(path.join(CASTS, name), "utf8").split("\n");
    const { width, height } = JSON.parse(head) as { width: number; height: number };
    const events = lines
      .filter((line) => line.startsWith("["))
      .map((line) => JSON.parse(line) as [number, string, string]);
    const text = events
      .filter(([, code]) => code === "o")
      .map(([, , data]) => data)
      .join("");
    return { name, cols: width, rows: height, bytes: Buffer.from(text) };
  });
}
