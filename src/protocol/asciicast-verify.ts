import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import { parseJson } from "../kit/json-lines.ts";
import { messageOf } from "../kit/platform-error.ts";
import {
  CastGap,
  CastPosition,
  GAP_PREFIX,
  POSITION_PREFIX,
  bytesOfEvent,
  chunksOf,
  readAsciicast,
} from "./asciicast.ts";
import type { CastLine, CastSource } from "./asciicast.ts";
import type { VerifyResult } from "./results.ts";

/** More problems than this are not listed; `ok` is false all the same. */
export const MAX_PROBLEMS = 100;

/**
 * Checks a whole recording: header, every event, every `#raw` and every `#pos` against what is really there.
 * `bytes` and `sha256` are of the file. Rejects only when the source cannot be read.
 */
export async function verifyAsciicast(source: CastSource): Promise<VerifyResult> {
  const hash = createHash("sha256");
  const size = { bytes: 0 };
  const sums: Sums = { out: 0, in: 0, ms: 0, gap: 0, last: null };
  const result: VerifyResult = { ok: true, events: 0, bytes: 0, sha256: "", problems: [] };
  for await (const item of readAsciicast(hashed(source, hash, size))) {
    if (item.kind === "event") {
      result.events += 1;
      const { code, timeUs } = item.event;
      if (code === "o") sums.out += bytesOfEvent(item.event).length;
      if (code === "i") sums.in += bytesOfEvent(item.event).length;
      sums.ms = Math.round(timeUs / 1000);
    }
    const problem =
      item.kind === "problem"
        ? item.problem
        : sums.last?.end === true
          ? "Position before it says that nothing follows"
          : problemOfComment(item, sums);
    if (problem === null) continue;
    result.ok = false;
    if (result.problems.length < MAX_PROBLEMS) result.problems.push({ line: item.line, problem });
  }
  const gaps = sums.gap === 0 ? {} : { gapBytes: sums.gap };
  return { ...result, bytes: size.bytes, sha256: hash.digest("hex"), ...gaps };
}

interface Sums {
  out: number;
  in: number;
  ms: number;
  gap: number;
  /** the last position */
  last: CastPosition | null;
}

/** Adds what a `#gap` stands for; a `#pos` that disagrees with what is before it shows lines that were lost, added or changed. */
function problemOfComment(item: CastLine, sums: Sums): string | null {
  if (item.kind !== "comment") return null;
  try {
    if (item.text.startsWith(GAP_PREFIX))
      sums.gap += parseJson("a gap", CastGap, item.text.slice(GAP_PREFIX.length)).bytes;
    if (!item.text.startsWith(POSITION_PREFIX)) return null;
    const text = item.text.slice(POSITION_PREFIX.length);
    const position = { gap: 0, ...parseJson("a position", CastPosition, text) };
    const { last } = sums;
    sums.last = position;
    const back = (["seq", "fact", "masked"] as const).find(
      (key) => last !== null && position[key] < last[key],
    );
    if (back !== undefined)
      return `Position says ${back} ${position[back]}, the one before it ${last?.[back]}`;
    const wrong = (["out", "in", "ms", "gap"] as const).find((key) => position[key] !== sums[key]);
    if (wrong === undefined) return null;
    return `Position says ${wrong} ${position[wrong]}, the lines before it make ${sums[wrong]}`;
  } catch (error) {
    return messageOf(error);
  }
}

async function* hashed(
  source: CastSource,
  hash: Hash,
  size: { bytes: number },
): AsyncGenerator<Buffer> {
  for await (const chunk of chunksOf(source)) {
    hash.update(chunk);
    size.bytes += chunk.length;
    yield chunk;
  }
}
