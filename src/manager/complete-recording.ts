import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { POSITION_PREFIX, RAW_PREFIX } from "../protocol/asciicast.ts";
import { endOfWholeLines, writeFully } from "./durable-file.ts";
import { blocksOf } from "./recording-file.ts";

/** What a recording is after nobody is left who could ship more of it. */
export interface CompletedRecording {
  bytes: number;
  sha256: string;
  /** The spool was there, whole and ended, and the recording has the same bytes. */
  sameAsSpool: boolean;
  /** The spool begins with other bytes than the recording: it was left alone and has to be looked at. */
  conflict: boolean;
}

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
  const spool = await open(spoolPath, "r").catch(() => null);
  let conflict = false;
  let spoolBytes = -1;
  try {
    if (spool !== null) {
      conflict = !(await isPrefix(recording, spool));
      if (!conflict) spoolBytes = await takeOver(recording, spool);
    }
  } finally {
    await spool?.close();
  }
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
  return { ...digest, sameAsSpool: ended && digest.bytes === spoolBytes, conflict };
}

async function isPrefix(recording: FileHandle, spool: FileHandle): Promise<boolean> {
  const shared = Math.min((await recording.stat()).size, (await spool.stat()).size);
  const theirs = blocksOf(spool, 0, shared);
  for await (const ours of blocksOf(recording, 0, shared)) {
    const block = await theirs.next();
    if (block.done === true || !block.value.equals(ours)) return false;
  }
  return true;
}

/** Appends what the spool has beyond the recording, up to its last whole line; gives the spool's size. */
async function takeOver(recording: FileHandle, spool: FileHandle): Promise<number> {
  const have = (await recording.stat()).size;
  const { size } = await spool.stat();
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
