import { closeSync, openSync, writeSync } from "node:fs";

/** What is made before it repeats: more than any cache of the processor holds for one process. */
const DISTINCT_BYTES = 8_000_000;

/**
 * What coding agents and their tools print: logs, colours, wide characters, redraws, and about one byte in a hundred of a binary
 * file. The same for the same size.
 */
export function mixedOutput(bytes: number): Buffer {
  const random = randomFrom(20_260_101);
  const parts: Buffer[] = [];
  let size = 0;
  for (let line = 0; size < bytes; line++) {
    const kind = random(100);
    const part =
      kind === 0
        ? binary(random)
        : Buffer.from((KINDS[kind % KINDS.length] as LineKind)(line, random));
    parts.push(part);
    size += part.length;
  }
  return Buffer.concat(parts).subarray(0, bytes);
}

/** Writes that many bytes of mixed output to a file. */
export function writeMixedOutput(file: string, bytes: number): void {
  const distinct = mixedOutput(Math.min(bytes, DISTINCT_BYTES));
  const descriptor = openSync(file, "wx", 0o644);
  try {
    for (let left = bytes; left > 0;)
      left -= writeSync(descriptor, distinct, 0, Math.min(left, distinct.length));
  } finally {
    closeSync(descriptor);
  }
}

type Random = (below: number) => number;
type LineKind = (line: number, random: Random) => string;

const WORDS = "build module request parser timeout worker cache index retry session".split(" ");
const WIDE = ["日本語のテキスト", "构建完成", "테스트 통과", "🙂🚀✅", "naïve café", "👩‍💻 🏳️‍🌈"];

const KINDS: LineKind[] = [
  (line, random) =>
    `2026-01-01T12:${10 + random(50)}:${10 + random(50)}.${100 + random(900)}Z INFO ${words(random, 6)} id=${line} took=${random(5000)}ms\r\n`,
  (line, random) =>
    `{"level":30,"time":${1_767_000_000_000 + line},"msg":"${words(random, 5)}","path":"/src/${words(random, 1)}.ts"}\r\n`,
  (_, random) =>
    `\u001b[1;32m✓\u001b[0m ${words(random, 4)} \u001b[2m(${random(900)} ms)\u001b[22m\r\n`,
  (_, random) =>
    `\u001b[38;5;${random(256)}m${words(random, 3)}\u001b[39m \u001b[48;2;${random(256)};${random(256)};0m${words(random, 2)}\u001b[m\r\n`,
  (_, random) =>
    `\u001b[31m- ${words(random, 7)}\u001b[0m\r\n\u001b[32m+ ${words(random, 7)}\u001b[0m\r\n`,
  (_, random) =>
    `${WIDE[random(WIDE.length)]} ${words(random, 2)} ${WIDE[random(WIDE.length)]}\r\n`,
  (_, random) =>
    `\r\u001b[2K\u001b[36m⠋\u001b[0m ${words(random, 2)} ${"█".repeat(random(30))} ${random(100)} %`,
  (_, random) =>
    `\u001b[?2026h\u001b[${1 + random(40)};1H\u001b[K│ ${words(random, 5)} │\u001b[${1 + random(40)};${1 + random(80)}H\u001b[?25l\u001b[?2026l`,
];

function words(random: Random, count: number): string {
  return Array.from({ length: count }, () => WORDS[random(WORDS.length)]).join(" ");
}

/** As long as an average line, so that one line in a hundred is one byte in a hundred. */
function binary(random: Random): Buffer {
  return Buffer.from(Array.from({ length: 40 + random(60) }, () => random(256)));
}

function randomFrom(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % below;
  };
}
