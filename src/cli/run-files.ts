import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { parseJson } from "../kit/json-lines.ts";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import { RunId } from "../protocol/ids.ts";
import { RunInfo } from "../protocol/manager-api.ts";
import { isGone } from "../kit/process-alive.ts";
import { findManager } from "./client.ts";
import { nearest } from "./suggest.ts";

/** What we read of `run.json`; the manager keeps more in it (token hashes), which stays there. */
const RunFile = z.object({
  info: RunInfo,
  runtimeDir: z.string(),
  supervisorStart: z.string().nullable(),
});
type RunFile = z.infer<typeof RunFile>;

const RunKeys = z
  .object({ managerKey: z.string(), recorderKey: z.string() })
  .partial()
  .transform(({ managerKey, recorderKey }) => ({
    ...(managerKey === undefined ? {} : { managerKey }),
    ...(recorderKey === undefined ? {} : { recorderKey }),
  }));

/** A run as the data directory knows it. */
export interface KnownRun {
  readonly info: RunInfo;
  readonly dir: string;
  /** where its recording lies when it has one */
  readonly castPath: string;
  /** not ended, and somebody is there who can end it: a manager, or its supervisor */
  readonly live: boolean;
  /** the supervisor's process is the one that was registered, and is there */
  readonly supervised: boolean;
  /** where its sockets and run spec lie while it lives */
  readonly runtimeDir: string;
}

/** A directory among the runs that is not a run this build can read. */
export interface UnreadableRun {
  readonly run: string;
  readonly dir: string;
  readonly problem: string;
}

/** Every run of a data directory, newest first: its files, and what a live manager knows better. */
export async function listRuns(
  dataDir: string,
): Promise<{ runs: KnownRun[]; unreadable: UnreadableRun[] }> {
  const manager = await findManager(dataDir);
  const fresh = new Map<string, RunInfo>();
  for (const info of manager === null ? [] : await manager.runs()) fresh.set(info.run, info);
  const runs: KnownRun[] = [];
  const unreadable: UnreadableRun[] = [];
  for (const name of await runNames(dataDir)) {
    const dir = join(dataDir, "runs", name);
    try {
      runs.push(await readRun(dir, fresh.get(name)));
    } catch (error) {
      unreadable.push({ run: name, dir, problem: messageOf(error) });
    }
  }
  runs.sort((left, right) => right.info.startedAt.localeCompare(left.info.startedAt));
  return { runs, unreadable };
}

/** The run of this id. Throws `unknown_run` (exit code 2) that names the ids near to it. */
export async function findRun(dataDir: string, run: string): Promise<KnownRun> {
  const names = await runNames(dataDir);
  if (!names.includes(run)) throw unknownRun(dataDir, run, names);
  const manager = await findManager(dataDir);
  // The files are enough when the manager goes away now, or could not read the run itself.
  const fresh = await manager?.run(run).catch(() => undefined);
  return await readRun(join(dataDir, "runs", run), fresh);
}

/** The keys that a run was registered with, as far as its build knew them. */
export async function keysOfRun(
  known: KnownRun,
): Promise<{ managerKey?: string; recorderKey?: string }> {
  const path = join(known.dir, "run.json");
  return parseJson(`a run in "${path}"`, RunKeys, await readFile(path, "utf8"));
}

/** What the files say of a run now; for a loop that waits for its end. */
export async function rereadRun(known: KnownRun): Promise<KnownRun> {
  return await readRun(known.dir, undefined);
}

async function runNames(dataDir: string): Promise<string[]> {
  try {
    const entries = await readdir(join(dataDir, "runs"), { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory() && RunId.safeParse(entry.name).success)
      .map((entry) => entry.name);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw new PlatformError(
      "data_dir_unusable",
      `Cannot read the runs in "${dataDir}": ${errnoOf(error) ?? messageOf(error)}`,
      { path: dataDir, fix: "give a data directory of your own with --data DIR", cause: error },
    );
  }
}

/** `fresh`: what the manager says of it; without one, the supervisor's process is the only witness of life. */
async function readRun(dir: string, fresh: RunInfo | undefined): Promise<KnownRun> {
  const { info, runtimeDir, supervisorStart } = await readRunFile(dir);
  const castPath = join(dir, "recording.cast");
  const supervised = info.phase !== "ended" && !isGone(info.supervisorPid, supervisorStart);
  if (fresh !== undefined) {
    const live = fresh.phase !== "ended";
    return { info: fresh, dir, castPath, live, supervised, runtimeDir };
  }
  // run.json is not written for every byte: only the length of the file is true.
  const committedBytes = (await sizeOf(castPath)) ?? info.committedBytes;
  return {
    info: { ...info, committedBytes },
    dir,
    castPath,
    live: supervised,
    supervised,
    runtimeDir,
  };
}

async function readRunFile(dir: string): Promise<RunFile> {
  const path = join(dir, "run.json");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new PlatformError(
      "run_unreadable",
      `Cannot read "${path}": ${errnoOf(error) ?? messageOf(error)}`,
      { path, cause: error },
    );
  }
  return parseJson(`a run in "${path}"`, RunFile, text);
}

async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch {
    return null;
  }
}

function unknownRun(dataDir: string, run: string, names: readonly string[]): PlatformError {
  const best = nearest(run, names);
  const near = names.filter((name) => name === best || sharesHead(name, run)).slice(0, 5);
  const fix =
    near.length > 0
      ? `did you mean ${near.join(", ")}? agentkube ps --all lists runs`
      : `agentkube ps --all lists the runs of "${dataDir}" (${names.length}); --data DIR names another data directory`;
  return new PlatformError("unknown_run", `Unknown run "${run}"`, { fix });
}

/** Ids begin with the Agent's name: half a name is often what is remembered. */
function sharesHead(name: string, run: string): boolean {
  const head = run.slice(0, Math.max(3, Math.ceil(run.length / 2)));
  return run.length >= 3 && name.startsWith(head);
}
