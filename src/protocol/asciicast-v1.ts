import * as z from "zod";
import { isUtf8 } from "node:buffer";
import { beyondCount, parseEvent } from "./asciicast-event.ts";
import { CastFacts, Cells } from "./asciicast-header.ts";
import type { CastLine } from "./asciicast.ts";

/** asciicast v1, which old recordings have: one JSON document, often over many lines, with output only. */
const DocumentV1 = z.looseObject({
  version: z.literal(1),
  width: Cells,
  height: Cells,
  duration: z.number().nonnegative().nullish(),
  ...CastFacts,
  stdout: z.array(z.unknown()),
});

/** Whether this first line can be the beginning of a v1 document: the others are whole in one line. */
export function mayBeginV1(line: string): boolean {
  if (!line.trimStart().startsWith("{")) return false;
  try {
    return isV1(JSON.parse(line));
  } catch {
    return true;
  }
}

/** What a v1 document holds, as lines of the later formats; null when the text is none. */
export function readV1(bytes: Buffer): CastLine[] | null {
  const text = bytes.toString("utf8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isV1(value)) return null;
  if (!isUtf8(bytes))
    return [{ kind: "problem", line: lineNotUtf8(bytes), problem: "Line is not UTF-8" }];
  const parsed = DocumentV1.safeParse(value);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0] ?? { path: [], message: "not valid" };
    const problem = `Document is not of asciicast v1: ${path.join(".") || "document"}: ${message}`;
    return [{ kind: "problem", line: 1, problem }];
  }
  const { stdout, ...fields } = parsed.data;
  const header = { version: 1 as const, cols: fields.width, rows: fields.height, fields };
  const starts = linesOfEvents(text);
  let timeUs = 0;
  return [
    { kind: "header", line: 1, header },
    ...stdout.map((event, index): CastLine => {
      const line = starts[index] ?? 1;
      const [delay, data] = Array.isArray(event) ? (event as unknown[]) : [];
      if (!Array.isArray(event) || event.length !== 2)
        return {
          kind: "problem",
          line,
          problem: "Expected an event of two fields: [seconds, data]",
        };
      const checked = parseEvent(JSON.stringify([delay, "o", data]));
      if ("problem" in checked) return { kind: "problem", line, problem: checked.problem };
      timeUs += Math.round(checked.time * 1e6);
      if (!Number.isSafeInteger(timeUs))
        return { kind: "problem", line, problem: beyondCount(checked.time) };
      return { kind: "event", line, event: { timeUs, code: "o", data: checked.data, raw: null } };
    }),
  ];
}

/** Whether a parsed value says that it is a document of v1. */
export function isV1(value: unknown): boolean {
  return typeof value === "object" && value !== null && "version" in value && value.version === 1;
}

function lineNotUtf8(bytes: Buffer): number {
  let line = 1;
  for (let from = 0, end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, from)) {
    if (!isUtf8(bytes.subarray(from, end))) return line;
    line += 1;
    from = end + 1;
  }
  return line;
}

/** The line in which each event begins: an array in an array of the document. */
function linesOfEvents(text: string): number[] {
  const starts: number[] = [];
  let line = 1;
  let depth = 0;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}\n]/gs)) {
    if (token === "\n") line += 1;
    else if (token === "[" || token === "{") {
      depth += 1;
      if (depth === 3 && token === "[") starts.push(line);
    } else if (token === "]" || token === "}") depth -= 1;
  }
  return starts;
}
