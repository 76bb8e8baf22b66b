import { readdirSync, readFileSync } from "node:fs";
import timers from "node:timers/promises";

const LOOK_MS = 20;
/** USER_HZ, which Linux has fixed for what it tells programs. */
const TICKS_PER_SECOND = 100;

/** The processor time of a process and all that descend from it, as far as it was looked at. */
export interface TreeCpu extends AsyncDisposable {
  /** Seconds from a moment (wall clock, milliseconds) until now. */
  since(at: number): number;
}

/**
 * Watches a process and every descendant, also those that leave its session, by looking at `/proc` often: what a process uses between
 * the last look and its end, at most 20 ms of it, is not seen.
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
  const seen = readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) ? statOf(name) : []));
  // A child has mostly a higher number than its parent; those that have not are found at the next look.
  for (const { pid, parent, used } of seen)
    if (ticks.has(pid) || ticks.has(parent)) ticks.set(pid, used);
}

function statOf(name: string): { pid: number; parent: number; used: number }[] {
  try {
    const stat = readFileSync(`/proc/${name}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return [
      {
        pid: Number(name),
        parent: Number(fields[1]),
        used: Number(fields[11]) + Number(fields[12]),
      },
    ];
  } catch {
    // Gone meanwhile.
    return [];
  }
}

function sumOf(ticks: ReadonlyMap<number, number>): number {
  let sum = 0;
  for (const used of ticks.values()) sum += used;
  return sum;
}
