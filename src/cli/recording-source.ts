import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { errnoOf, messageOf } from "../kit/platform-error.ts";
import { GrantId, RunId } from "../protocol/ids.ts";
import type { CastSource } from "../protocol/asciicast.ts";
import type { SealedRecording } from "../protocol/child-status.ts";
import type { ShellInfo } from "../protocol/manager-api.ts";
import { UsageError } from "./output.ts";
import { findRun, type KnownRun } from "./run-files.ts";
import { keptShells } from "./shell-files.ts";

/** A recorded terminal of the data directory: that of a run, or of a shell in it. */
export interface RecordedSession {
  /** the run's id, or RUN.GRANT of a shell */
  readonly session: string;
  readonly run: KnownRun;
  /** more of it may come */
  readonly live: boolean;
  /** size and SHA-256 as the manager sealed it */
  readonly sealed: SealedRecording | null;
}

/** A recording that a person named: a file, a run of the data directory, or a shell of one. */
export interface NamedRecording {
  readonly path: string;
  /** null when a file was named */
  readonly of: RecordedSession | null;
  /** The bytes to read. Of a live run only whole lines, since the last one may be half written. */
  open(): CastSource;
}

/** Finds what `word` names: a path when it looks like one, else RUN or RUN.GRANT. Throws a usage error that says what is there. */
export async function namedRecording(
  word: string,
  dataDir: string,
  cwd: string,
): Promise<NamedRecording> {
  const path = resolve(cwd, word);
  const [run = "", grant, ...more] = word.split(".");
  const isSession = isRunId(run) && (grant === undefined || isGrant(grant)) && more.length === 0;
  if (!isSession) return await recordingFile(path);
  try {
    const known = await findRun(dataDir, run);
    if (grant === undefined) return await recordingOfRun(known, dataDir);
    return await recordingOfShell(known, grant, dataDir);
  } catch (error) {
    if (await isFile(path)) return await recordingFile(path);
    throw error;
  }
}

/** What the data directory says of a shell of a run. */
export function sessionOfShell(run: KnownRun, shell: ShellInfo): RecordedSession {
  const live = run.live && shell.endedAt === null;
  return { session: shell.session, run, live, sealed: shell.recording };
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
  return { path, of: null, open: () => path };
}

async function recordingOfRun(run: KnownRun, dataDir: string): Promise<NamedRecording> {
  const { castPath, live, info } = run;
  const session = { session: info.run, run, live, sealed: info.recording };
  const found = await recordingOf(session, castPath, join(dataDir, "spool", info.run));
  if (found !== null) return found;
  throw new UsageError(
    `Run "${info.run}" has no recording`,
    live ? "it has only begun; try again" : "it was not recorded (spec.recording.enabled: false)",
  );
}

async function recordingOfShell(
  run: KnownRun,
  grant: string,
  dataDir: string,
): Promise<NamedRecording> {
  const name = run.info.run;
  const shells = await keptShells(run.dir);
  const shell = shells.find((known) => known.grant_id === grant);
  if (shell === undefined)
    throw new UsageError(
      `Run "${name}" has had no shell "${grant}"`,
      shells.length === 0
        ? "it has had none"
        : `agentkube shell ${name} --list lists the ${shells.length} that it has had`,
    );
  const session = sessionOfShell(run, shell);
  const spool = join(dataDir, "spool", name, `shell-${grant}`);
  const cast = join(run.dir, "shells", `${grant}.cast`);
  const found = await recordingOf(session, cast, spool);
  if (found !== null) return found;
  throw new UsageError(`Shell "${session.session}" has no recording`, "it was never opened");
}

async function recordingOf(
  session: RecordedSession,
  path: string,
  spoolDir: string,
): Promise<NamedRecording | null> {
  if (await isFile(path))
    return { path, of: session, open: () => (session.live ? wholeLines(path) : path) };
  // The recorder's own copy stays when the manager never got all of it.
  const spooled = join(spoolDir, "recording.cast");
  if (!(await isFile(spooled))) return null;
  return { path: spooled, of: session, open: () => wholeLines(spooled) };
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

function isGrant(word: string): boolean {
  return GrantId.safeParse(word).success;
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
