import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { errnoOf, messageOf } from "../kit/platform-error.ts";
import { RunId } from "../protocol/ids.ts";
import type { CastSource } from "../protocol/asciicast.ts";
import { UsageError } from "./output.ts";
import { findRun, type KnownRun } from "./run-files.ts";

/** A recording that a person named: a file, or a run of the data directory. */
export interface NamedRecording {
  readonly path: string;
  /** null when a file was named */
  readonly run: KnownRun | null;
  /** The bytes to read. Of a live run only whole lines, since the last one may be half written. */
  open(): CastSource;
}

/** Finds what `word` names: a path when it looks like one, else a run id. Throws a usage error that says what is there. */
export async function namedRecording(
  word: string,
  dataDir: string,
  cwd: string,
): Promise<NamedRecording> {
  const path = resolve(cwd, word);
  const looksLikePath = word.includes("/") || word.endsWith(".cast") || !isRunId(word);
  if (looksLikePath) return await recordingFile(path);
  try {
    return await recordingOfRun(await findRun(dataDir, word), dataDir);
  } catch (error) {
    if (await isFile(path)) return await recordingFile(path);
    throw error;
  }
}

async function recordingFile(path: string): Promise<NamedRecording> {
  let found;
  try {
    found = await stat(path);
  } catch (error) {
    throw new UsageError(
      `Cannot read recording "${path}": ${errnoOf(error) ?? messageOf(error)}`,
      "give a run id or the path of a .cast file; agentkube recording ls lists the recordings of runs",
    );
  }
  if (found.isDirectory())
    throw new UsageError(`Cannot read recording "${path}": it is a directory`, "name a .cast file");
  return { path, run: null, open: () => path };
}

async function recordingOfRun(run: KnownRun, dataDir: string): Promise<NamedRecording> {
  const { castPath, live, info } = run;
  if (await isFile(castPath))
    return { path: castPath, run, open: () => (live ? wholeLines(castPath) : castPath) };
  // The recorder's own copy stays when the manager never got all of it.
  const spooled = join(dataDir, "spool", info.run, "recording.cast");
  if (await isFile(spooled)) return { path: spooled, run, open: () => wholeLines(spooled) };
  throw new UsageError(
    `Run "${info.run}" has no recording`,
    live ? "it has only begun; try again" : "it was not recorded (spec.recording.enabled: false)",
  );
}

/** The bytes of a file that still grows, up to its last newline. */
async function* wholeLines(path: string): AsyncGenerator<Buffer> {
  let tail: Buffer[] = [];
  for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 })) {
    const bytes = chunk as Buffer;
    const end = bytes.lastIndexOf(10) + 1;
    if (end > 0) {
      yield Buffer.concat([...tail, bytes.subarray(0, end)]);
      tail = [];
    }
    if (end < bytes.length) tail.push(bytes.subarray(end));
  }
}

function isRunId(word: string): boolean {
  return RunId.safeParse(word).success;
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
