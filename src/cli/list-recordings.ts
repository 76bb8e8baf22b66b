import { join } from "node:path";
import { messageOf } from "../kit/platform-error.ts";
import { humanBytes, humanTable, oneLine } from "./human.ts";
import type { Output } from "./output.ts";
import { sessionOfShell, type RecordedSession } from "./recording-source.ts";
import { listRuns, type KnownRun } from "./run-files.ts";
import { keptShells } from "./shell-files.ts";

/** A recording as it stands in the list. */
interface Listed extends RecordedSession {
  readonly startedAt: string;
  readonly endedAt: string | null;
  readonly path: string;
  readonly committedBytes: number;
  /** the shell that it is of; null for a run's own */
  readonly shell: string | null;
}

/** `recording ls`: every recording of a data directory, the newest run first, each with those of its shells. */
export async function listRecordings(dataDir: string, output: Output): Promise<void> {
  const { runs, unreadable } = await listRuns(dataDir);
  const recorded: Listed[] = [];
  for (const run of runs) {
    recorded.push(...ownOf(run));
    try {
      recorded.push(...(await shellsOf(run)));
    } catch (error) {
      output.note(`Shells of run ${run.info.run} left out: ${messageOf(error)}`);
    }
  }
  if (output.json) {
    output.document({ recordings: recorded.map(factsOf) });
    return;
  }
  for (const { run, problem } of unreadable) output.note(`Run ${run} left out: ${problem}`);
  if (recorded.length === 0) {
    output.note(`No recording in "${dataDir}"`);
    return;
  }
  const rows = recorded.map((each) => [
    each.session,
    oneLine(each.run.info.agent),
    each.startedAt,
    humanBytes(bytesOf(each)),
    statusOf(each),
  ]);
  for (const line of humanTable(["RUN", "AGENT", "STARTED", "SIZE", "STATUS"], rows))
    output.line(line);
}

/** A run's own terminal, when it was recorded. */
function ownOf(run: KnownRun): Listed[] {
  const { info, castPath: path, live } = run;
  const { run: session, startedAt, endedAt, committedBytes, recording: sealed } = info;
  const facts = { session, startedAt, endedAt, committedBytes, sealed };
  return isRecorded(facts) ? [{ ...facts, run, live, path, shell: null }] : [];
}

/** The shells of a run that were recorded, the newest first. */
async function shellsOf(run: KnownRun): Promise<Listed[]> {
  const shells = (await keptShells(run.dir)).map((shell) => ({
    ...sessionOfShell(run, shell),
    startedAt: shell.openedAt,
    endedAt: shell.endedAt,
    path: join(run.dir, "shells", `${shell.grant_id}.cast`),
    committedBytes: shell.committedBytes,
    shell: shell.grant_id,
  }));
  return shells.filter(isRecorded);
}

function isRecorded({ sealed, committedBytes }: Pick<Listed, "sealed" | "committedBytes">) {
  return sealed !== null || committedBytes > 0;
}

function factsOf(listed: Listed): Record<string, unknown> {
  const { run, shell, startedAt, endedAt, path, live, sealed } = listed;
  return {
    run: run.info.run,
    ...(shell === null ? {} : { shell }),
    agent: run.info.agent,
    startedAt,
    endedAt,
    path,
    bytes: bytesOf(listed),
    sha256: sealed?.sha256 ?? null,
    verified: sealed?.verified ?? false,
    live,
  };
}

function bytesOf({ sealed, committedBytes }: Listed): number {
  return sealed?.bytes ?? committedBytes;
}

function statusOf({ sealed, live }: Listed): string {
  if (live) return "live";
  if (sealed === null) return "not sealed";
  return sealed.verified ? "verified" : "not verified";
}
