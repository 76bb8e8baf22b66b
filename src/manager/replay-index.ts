import { createReadStream } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { createInterface } from "node:readline";
import * as z from "zod";
import { errnoOf } from "../kit/platform-error.ts";
import { endOfWholeLines } from "./durable-file.ts";

/** A segment begins about every so many bytes of recording: a player fetches one or two of them to show any moment. */
export const SEGMENT_BYTES = 256 * 1024;

/** Above this size a recording is replayed in segments. */
export const SEGMENTED_BYTES = 4 * 1024 * 1024;

/**
 * The index of a recording, beside it in `….index.jsonl`: where its segments begin, with the screen at each, and its markers. It is
 * worked out from the recording alone, so it can be removed at any time and comes back the same. Times are milliseconds.
 */
export const IndexLine = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("index"), version: z.literal(1), segmentBytes: z.int() }),
  z.strictObject({
    kind: z.literal("segment"),
    offset: z.int().describe("of its first event's line"),
    baseMs: z.int().describe("time of the last event before it"),
    startMs: z.int().describe("time of its first event; all before it are earlier"),
    cols: z.int(),
    rows: z.int(),
    screen: z.string().describe("what paints the screen on a clean terminal"),
  }),
  z.strictObject({ kind: z.literal("marker"), ms: z.int(), label: z.string() }),
  z
    .strictObject({
      kind: z.literal("until"),
      offset: z.int().describe("the recording is indexed up to here, after a whole line"),
      ms: z.int().describe("time of the last event"),
      events: z.int(),
    })
    .describe("the last one counts"),
]);
export type IndexLine = z.infer<typeof IndexLine>;
export type IndexSegment = Extract<IndexLine, { kind: "segment" }>;

/** An index as it is on disk. */
export interface ReplayIndex {
  segments: IndexSegment[];
  markers: { ms: number; label: string }[];
  until: { offset: number; ms: number; events: number };
}

export function indexPathOf(recordingPath: string): string {
  return recordingPath.replace(/\.cast$/, ".index.jsonl");
}

/**
 * Reads what is whole of an index; null when there is none, or one of another version or damaged, which counts as none. Lines after
 * the last `until` are of an indexer that did not come to its end, and are left out.
 */
export async function readReplayIndex(path: string): Promise<ReplayIndex | null> {
  let handle: FileHandle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    throw error;
  }
  try {
    const whole = await endOfWholeLines(handle, (await handle.stat()).size);
    if (whole === 0) return null;
    return await indexOf(handle, whole);
  } finally {
    await handle.close();
  }
}

async function indexOf(handle: FileHandle, whole: number): Promise<ReplayIndex | null> {
  const index: ReplayIndex = { segments: [], markers: [], until: { offset: 0, ms: 0, events: 0 } };
  let pending: Omit<ReplayIndex, "until"> = { segments: [], markers: [] };
  let first = true;
  const input = createReadStream("", { fd: handle, autoClose: false, start: 0, end: whole - 1 });
  for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    const line = lineOf(text);
    if (line === null || first !== (line.kind === "index")) return null;
    first = false;
    if (line.kind === "index" && line.segmentBytes !== SEGMENT_BYTES) return null;
    if (line.kind === "segment") pending.segments.push(line);
    if (line.kind === "marker") pending.markers.push({ ms: line.ms, label: line.label });
    if (line.kind !== "until") continue;
    index.segments.push(...pending.segments);
    index.markers.push(...pending.markers);
    index.until = { offset: line.offset, ms: line.ms, events: line.events };
    pending = { segments: [], markers: [] };
  }
  return index.segments.length === 0 ? null : index;
}

function lineOf(text: string): IndexLine | null {
  try {
    return IndexLine.parse(JSON.parse(text));
  } catch {
    return null;
  }
}
