import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, PlatformError } from "../kit/platform-error.ts";
import type { Log } from "../kit/log.ts";
import type { RunEnd } from "../protocol/outcome.ts";
import { completeRecording, type CompletedRecording } from "./complete-recording.ts";
import type { Run } from "./run.ts";
import type { Shell } from "./shell.ts";

export interface SealOptions {
  /** what the marker at the end, and the manager's signed word, say */
  marker: string;
  /** whether the run's own recording is what its recorder wrote */
  verifies: (done: CompletedRecording) => boolean;
  log: Log;
}

/**
 * Finishes what the recorder of a run could not prove, its shells' recordings and its own. Resolves with why the spool has to be kept;
 * null when nothing is in it that is not here.
 */
export async function sealRun(run: Run, options: SealOptions): Promise<string | null> {
  const left = new Set<string | null>();
  for (const shell of run.shells) {
    const spoolDir = join(run.record.spoolDir, `shell-${shell.grant}`);
    left.add(await seal(run, shell, spoolDir, { ...options, verifies: () => false }));
  }
  left.add(await seal(run, run, run.record.spoolDir, options));
  left.delete(null);
  return left.size === 0 ? null : `${[...left].join("; ")}, and was kept`;
}

/** The end of a run with the word that its spool has to be looked at. */
export function endWithSpool(end: RunEnd, left: string | null, path: string): RunEnd {
  if (left === null) return end;
  const cause = end.detail === undefined ? left : `${end.detail.cause}; ${left}`;
  const fix = `compare it with the recording${end.detail?.fix === undefined ? "" : `; ${end.detail.fix}`}`;
  return { ...end, detail: { path, cause: cause.slice(0, 4096), fix: fix.slice(0, 4096) } };
}

async function seal(
  run: Run,
  session: Run | Shell,
  spoolDir: string,
  { marker, verifies, log }: SealOptions,
): Promise<string | null> {
  if (session.sealed?.verified === true) return null;
  const spool = join(spoolDir, "recording.cast");
  if (!(await isThere(session.recordingPath)) && !(await isThere(spool))) return null;
  await session.closeFiles();
  const done = await completeRecording(session.recordingPath, spool, marker);
  session.setCommittedBytes(done.bytes);
  if (done.bytes === 0) return done.leftSpool;
  const what = { epoch: run.record.epochs.recorder, at: done.bytes, hash: done.sha256 };
  try {
    await (await session.recordingProofs()).close(marker, what);
  } catch (error) {
    // Damaged proofs stay as they are: who verifies the recording is told.
    if (!(error instanceof PlatformError)) throw error;
    log.error({ session: session.session, err: error }, "end of a recording could not be signed");
  }
  const { bytes, sha256 } = done;
  await session.setRecording({ bytes, sha256, verified: verifies(done) });
  if (done.leftSpool !== null)
    log.error({ session: session.session, path: spool, why: done.leftSpool }, "spool was kept");
  return done.leftSpool;
}

/** True as well for one that cannot be looked at. */
async function isThere(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    (error: unknown) => errnoOf(error) !== "ENOENT",
  );
}
