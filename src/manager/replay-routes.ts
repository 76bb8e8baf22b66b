import type { ServerResponse } from "node:http";
import { PlatformError } from "../kit/platform-error.ts";
import { stripComments } from "../protocol/asciicast.ts";
import { parseEvent } from "../protocol/asciicast-event.ts";
import type { RecordedSession } from "./recorded-session.ts";
import { replyJson } from "./reply.ts";
import { SEGMENTED_BYTES, type IndexSegment, type ReplayIndex } from "./replay-index.ts";
import type { Replays } from "./replays.ts";

/**
 * How a session is to be replayed. `file`: as one `recording.cast`. `segments`: `replay.json` is an index that asciinema-player takes
 * as a segmented recording. `preparing`: the index of a large one is being made; ask again. Times are seconds.
 */
export type ReplayPlan =
  | { kind: "preparing"; progress: number }
  | { kind: "file" | "segments"; duration: number; markers: [number, string][] };

/** Answers `replay`, `replay.json` and `replay/N.json` of a session. False when it is none of them. Throws `PlatformError`. */
export async function handleReplay(
  response: ServerResponse,
  { session, replays, path }: { session: RecordedSession; replays: Replays; path: string },
): Promise<boolean> {
  if (path === "/replay") {
    replyJson(response, 200, await planOf(session, replays));
    return true;
  }
  if (path === "/replay.json") {
    const index = await replays.whole(session);
    replyJson(response, 200, {
      version: 1,
      duration: index.until.ms / 1000,
      term: sizeOf(index.segments[0]),
      markers: markersOf(index),
      segments: segmentsOf(index).map(({ startMs }, number) => ({
        start: startMs / 1000,
        url: `replay/${number}.json`,
      })),
    });
    return true;
  }
  const number = /^\/replay\/([0-9]{1,7})\.json$/.exec(path)?.[1];
  if (number === undefined) return false;
  replyJson(response, 200, await segmentOf(session, await replays.whole(session), Number(number)));
  return true;
}

async function planOf(session: RecordedSession, replays: Replays): Promise<ReplayPlan> {
  const progress = await replays.progress(session);
  // A small one is indexed while the question is answered.
  const isLarge = session.committedBytes > SEGMENTED_BYTES;
  if (isLarge && progress < 1) return { kind: "preparing", progress };
  const index = await replays.whole(session);
  return {
    kind: isLarge && index.until.ms > 0 ? "segments" : "file",
    duration: index.until.ms / 1000,
    markers: markersOf(index),
  };
}

/** The player wants the last segment to begin before the end. */
function segmentsOf({ segments, until }: ReplayIndex): IndexSegment[] {
  return segments.filter(({ startMs }, number) => number === 0 || startMs < until.ms);
}

function markersOf({ markers, until }: ReplayIndex): [number, string][] {
  return markers.map(({ ms, label }) => [Math.min(ms, until.ms) / 1000, label]);
}

function sizeOf(segment: IndexSegment | undefined): { cols: number; rows: number } {
  return { cols: segment?.cols ?? 80, rows: segment?.rows ?? 24 };
}

/** The screen at the beginning of a segment, and its events with their times from the beginning of the session. */
async function segmentOf(
  session: RecordedSession,
  index: ReplayIndex,
  number: number,
): Promise<unknown> {
  const segments = segmentsOf(index);
  const segment = segments[number];
  await using reader = await session.readRecording();
  if (segment === undefined || reader === null)
    throw new PlatformError("not_found", `Session "${session.session}" has no segment ${number}`);
  const end = segments[number + 1]?.offset ?? index.until.offset;
  const bytes = Buffer.alloc(end - segment.offset);
  await reader.read(bytes, 0, bytes.length, segment.offset);
  const events: [number, string, string][] = [];
  let ms = segment.baseMs;
  for (const line of bytes.toString("utf8").split("\n")) {
    const text = stripComments(line);
    const event = text === null ? null : parseEvent(text);
    if (event === null || "problem" in event) continue;
    ms += Math.round(event.time * 1000);
    events.push([ms / 1000, event.code, event.data]);
  }
  return { snapshot: { ...sizeOf(segment), init: segment.screen }, events };
}
