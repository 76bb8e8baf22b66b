import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { errnoOf } from "../kit/platform-error.ts";
import { POSITION_PREFIX, RAW_PREFIX } from "../protocol/asciicast.ts";
import { endOfWholeLines, writeFully } from "./durable-file.ts";
import { blocksOf } from "./recording-file.ts";
import type { RecordingReader } from "./recording-reader.ts";

/** What a recording is after nobody is left who could ship more of it. */
export interface CompletedRecording {
  bytes: number;
  sha256: string;
  /** The spool was there, whole and ended, and the recording has the same bytes. */
  sameAsSpool: boolean;
  /** Why the spool was left alone, or only in part taken over: it has to be kept and looked at. Null when all of it is here. */
  leftSpool: string | null;
}

/** The spool is there and cannot be read. */
class SpoolUnreadable extends Error {}

/**
 * Finishes a recording whose recorder is gone: takes over what the spool has beyond it, in whole lines, and, where no exit event ends
 * it, adds a marker that says so. Acknowledged bytes are never cut: a torn last line is kept, in base64, in a comment line.
 */
export async function completeRecording(
  recordingPath: string,
  spoolPath: string,
  label: string,
): Promise<CompletedRecording> {
  await using recording = await open(recordingPath, constants.O_RDWR | constants.O_CREAT, 0o600);
  const { spoolBytes, leftSpool } = await takeSpool(recording, spoolPath);
  const { size } = await recording.stat();
  const whole = await endOfWholeLines(recording, size);
  const ended = whole === size && (await hasEnd(recording, whole));
  if (!ended && whole > 0) {
    const torn = Buffer.alloc(size - whole);
    await recording.read(torn, 0, torn.length, whole);
    const kept = torn.length === 0 ? "" : `# torn ${torn.toString("base64")}\n`;
    const marker = `[0.000, "m", ${JSON.stringify(label)}]\n`;
    const ending = `${await missingEvent(recording, whole)}${kept}${marker}`;
    await writeFully(recording, Buffer.from(ending), whole);
  }
  await recording.datasync();
  const digest = await digestOf(recording);
  return { ...digest, sameAsSpool: ended && digest.bytes === spoolBytes, leftSpool };
}

/** Takes over what the spool has beyond the recording. Only one that is not there counts as none. */
async function takeSpool(
  recording: FileHandle,
  path: string,
): Promise<{ spoolBytes: number; leftSpool: string | null }> {
  const none = { spoolBytes: -1, leftSpool: null };
  try {
    const handle = await open(path, "r").catch((error: unknown) =>
      errnoOf(error) === "ENOENT" ? null : unreadable(error),
    );
    if (handle === null) return none;
    try {
      const spool: Spool = {
        size: (await handle.stat()).size,
        read: async (...where) => await handle.read(...where).catch(unreadable),
      };
      if (await isPrefix(recording, spool))
        return { spoolBytes: await takeOver(recording, spool), leftSpool: null };
      return { ...none, leftSpool: "the recorder's spool differs from the recording" };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof SpoolUnreadable) return { ...none, leftSpool: error.message };
    throw error;
  }
}

interface Spool extends Pick<RecordingReader, "read"> {
  readonly size: number;
}

/** What the recording's own file throws is another thing: a full disk may have room later. */
function unreadable(error: unknown): never {
  const code = errnoOf(error) ?? "unknown error";
  throw new SpoolUnreadable(`the recorder's spool cannot be read (${code})`, { cause: error });
}

async function isPrefix(recording: FileHandle, spool: Spool): Promise<boolean> {
  const shared = Math.min((await recording.stat()).size, spool.size);
  const theirs = blocksOf(spool, 0, shared);
  for await (const ours of blocksOf(recording, 0, shared)) {
    const block = await theirs.next();
    if (block.done === true || !block.value.equals(ours)) return false;
  }
  return true;
}

/** Appends what the spool has beyond the recording, up to its last whole line; gives the spool's size. */
async function takeOver(recording: FileHandle, spool: Spool): Promise<number> {
  const have = (await recording.stat()).size;
  const { size } = spool;
  const whole = await endOfWholeLines(spool, size);
  let at = have;
  for await (const block of blocksOf(spool, have, whole)) {
    await writeFully(recording, block, at);
    at += block.length;
  }
  return size;
}

/** True when an exit event, or the recorder's word that nothing follows, is at the end. */
async function hasEnd(recording: FileHandle, whole: number): Promise<boolean> {
  let end = whole;
  while (end > 0) {
    const { text, start } = await lastLine(recording, end);
    if (text.startsWith(POSITION_PREFIX) && text.includes('"end":true')) return true;
    // Other comments and blank lines are no events.
    if (text !== "" && !text.startsWith("#")) return /^\[[0-9.]+,\s*"x"/.test(text);
    end = start;
  }
  return false;
}

/** The event that a `#raw` line at the end waits for: its bytes were acknowledged, only the event was lost. */
async function missingEvent(recording: FileHandle, whole: number): Promise<string> {
  const { text } = await lastLine(recording, whole);
  if (!text.startsWith(RAW_PREFIX)) return "";
  const bytes = Buffer.from(text.slice(RAW_PREFIX.length), "base64");
  return `[0.000, "o", ${JSON.stringify(bytes.toString("utf8"))}]\n`;
}

async function lastLine(
  recording: FileHandle,
  end: number,
): Promise<{ text: string; start: number }> {
  const start = await endOfWholeLines(recording, end - 1);
  const line = Buffer.alloc(end - start);
  await recording.read(line, 0, line.length, start);
  return { text: line.toString("utf8").trim(), start };
}

async function digestOf(recording: FileHandle): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const block of blocksOf(recording, 0, Number.POSITIVE_INFINITY)) {
    hash.update(block);
    bytes += block.length;
  }
  return { bytes, sha256: hash.digest("hex") };
}
