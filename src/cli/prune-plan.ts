import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { KnownRun, UnreadableRun } from "./run-files.ts";

/** What a person asked to have removed. Without any of them: every run that may be removed. */
export interface PruneWish {
  /** ended at least this long ago */
  readonly olderThanMs: number | null;
  /** takes at least this much room */
  readonly largerThanBytes: number | null;
  /** the oldest, until all that stays takes at most this much room */
  readonly keepBytes: number | null;
}

/** Something in the data directory with the room it takes. */
export interface Sized {
  readonly name: string;
  readonly dir: string;
  readonly bytes: number;
}
export interface PruneRun extends Sized {
  readonly endedAt: string | null;
}
export interface PrunePlan {
  readonly remove: readonly PruneRun[];
  readonly packages: readonly Sized[];
  /** asked for, but not touched, and why */
  readonly keep: readonly (PruneRun & { readonly why: string })[];
  /** all of `runs/` and `store/` before */
  readonly totalBytes: number;
}

interface Candidate extends PruneRun {
  readonly startedAt: string;
  /** null: may be removed */
  readonly why: string | null;
}

/** Decides what to remove. Live, unsealed and unverified runs stay whatever was asked. Changes nothing. */
export async function planPrune(
  dataDir: string,
  known: { runs: readonly KnownRun[]; unreadable: readonly UnreadableRun[] },
  wish: PruneWish,
): Promise<PrunePlan> {
  const candidates = await Promise.all([
    ...known.runs.map(candidateOf),
    ...known.unreadable.map(async ({ run, dir, problem }) => ({
      name: run,
      dir,
      bytes: await sizeOf(dir),
      endedAt: null,
      startedAt: "",
      why: `it cannot be read: ${problem}`,
    })),
  ]);
  const packages = await packagesOf(dataDir);
  const isAnyLive = known.runs.some((run) => run.info.phase !== "ended");
  const packageBytes = packages.reduce((sum, { bytes }) => sum + bytes, 0);
  const totalBytes = candidates.reduce((sum, { bytes }) => sum + bytes, packageBytes);
  // A run that lives may use any of them: its spec says which, but its supervisor may only just be writing it.
  const unused = isAnyLive ? [] : packages;
  const wanted = wantedOf(candidates, wish, totalBytes - bytesOf(unused));
  return {
    remove: wanted.filter(({ why }) => why === null).map(shownOf),
    keep: wanted.flatMap((run) => (run.why === null ? [] : [{ ...shownOf(run), why: run.why }])),
    packages: unused,
    totalBytes,
  };
}

/** Sizes of all files below a directory; a file that goes away meanwhile counts as nothing. */
export async function sizeOf(dir: string): Promise<number> {
  let total = 0;
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) total += await sizeOf(path);
    else
      total += await lstat(path).then(
        ({ size }) => size,
        () => 0,
      );
  }
  return total;
}

function wantedOf(candidates: readonly Candidate[], wish: PruneWish, total: number): Candidate[] {
  const oldestFirst = candidates.toSorted((left, right) =>
    left.startedAt.localeCompare(right.startedAt),
  );
  const { olderThanMs, largerThanBytes, keepBytes } = wish;
  const wanted = oldestFirst.filter((run) => {
    if (largerThanBytes !== null && run.bytes < largerThanBytes) return false;
    if (olderThanMs === null) return true;
    // What has not ended has no age; it is listed with its reason only when no age was asked for.
    return run.endedAt !== null && Date.now() - Date.parse(run.endedAt) >= olderThanMs;
  });
  if (keepBytes === null) return wanted;
  let left = total;
  return wanted.filter((run) => {
    if (left <= keepBytes) return false;
    if (run.why === null) left -= run.bytes;
    return true;
  });
}

async function candidateOf(run: KnownRun): Promise<Candidate> {
  const { info, dir } = run;
  const bytes = await sizeOf(dir);
  const { endedAt, startedAt } = info;
  return { name: info.run, dir, bytes, endedAt, startedAt, why: reasonToKeep(run) };
}

/** Why a run may not be removed; null when it may. */
export function reasonToKeep({ info, live }: KnownRun): string | null {
  if (live) return "it is live";
  if (info.phase !== "ended")
    return "it was interrupted and not closed yet (agentkube stop closes it)";
  // A run that was told not to record has nothing to verify.
  if (info.recording === null)
    return info.committedBytes === 0 ? null : "its recording was never sealed";
  return info.recording.verified ? null : "its recording is not verified";
}

/** Packages, and copies that were cut off by a kill. */
async function packagesOf(dataDir: string): Promise<Sized[]> {
  const store = join(dataDir, "store");
  const names = await readdir(store).catch(() => []);
  return await Promise.all(
    names
      .filter((name) => /^(?:sha256-[0-9a-f]{64}|\.incoming-[0-9a-f]+)$/.test(name))
      .map(async (name) => ({
        name,
        dir: join(store, name),
        bytes: await sizeOf(join(store, name)),
      })),
  );
}

function shownOf({ name, dir, bytes, endedAt }: Candidate): PruneRun {
  return { name, dir, bytes, endedAt };
}

function bytesOf(items: readonly Sized[]): number {
  return items.reduce((sum, { bytes }) => sum + bytes, 0);
}
