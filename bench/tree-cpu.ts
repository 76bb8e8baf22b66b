import { readFileSync } from "node:fs";
import timers from "node:timers/promises";

const LOOK_MS = 50;
/** USER_HZ, which Linux has fixed for what it tells programs. */
const TICKS_PER_SECOND = 100;

/** The processor time of a process and all that descend from it, as far as it was looked at. */
export interface TreeCpu extends AsyncDisposable {
  /** Seconds from a moment (wall clock, milliseconds) until now. */
  since(at: number): number;
}

/**
 * Watches a process and every descendant, also those that leave its session, by looking at `/proc` often: what a process uses between
 * the last look and its end, at most 50 ms of it, is not seen.
 */
export function watchTreeCpu(root: number): TreeCpu {
  const ticks = new Map<number, number>([[root, 0]]);
  const history: { at: number; ticks: number }[] = [];
  const over = new AbortController();
  const watching = (async () => {
    while (!over.signal.aborted) {
      look(ticks);
      history.push({ at: Date.now(), ticks: sumOf(ticks) });
      await timers.setTimeout(LOOK_MS, undefined, { signal: over.signal }).catch(() => undefined);
    }
  })();
  return {
    since(at) {
      look(ticks);
      const before = history.findLast((moment) => moment.at <= at)?.ticks ?? 0;
      return (sumOf(ticks) - before) / TICKS_PER_SECOND;
    },
    async [Symbol.asyncDispose]() {
      over.abort();
      await watching;
    },
  };
}

function look(ticks: Map<number, number>): void {
  const waiting = [...ticks.keys()];
  for (let pid = waiting.pop(); pid !== undefined; pid = waiting.pop()) {
    const used = usedBy(pid);
    // Gone: what it used until the last look stays.
    if (used === null) continue;
    ticks.set(pid, used);
    for (const child of childrenOf(pid)) if (!ticks.has(child)) waiting.push(child);
  }
}

function usedBy(pid: number): number | null {
  const stat = tryRead(`/proc/${pid}/stat`);
  if (stat === null) return null;
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** Those that its main thread started: no program here starts others from another one. */
function childrenOf(pid: number): number[] {
  const children = tryRead(`/proc/${pid}/task/${pid}/children`)?.trim() ?? "";
  return children === "" ? [] : children.split(" ").map(Number);
}

function tryRead(path: string): string | null {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return null;
  }
}

function sumOf(ticks: ReadonlyMap<number, number>): number {
  let sum = 0;
  for (const used of ticks.values()) sum += used;
  return sum;
}
