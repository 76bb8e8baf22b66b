import type { RunnerReport } from "../protocol/metrics.ts";

/**
 * What the tool-runners of this manager's runs have counted, as one sum. Counters stay in it when a run ends or its tool-runner is
 * started again; what is open leaves with it.
 */
export class RunnerReports {
  readonly #live = new Map<string, { epoch: number; report: RunnerReport }>();
  #over: RunnerReport = emptyReport();

  /** The newest report of a run; a later epoch's counters begin at zero again. */
  take(run: string, epoch: number, report: RunnerReport): void {
    if ((this.#live.get(run)?.epoch ?? epoch) !== epoch) this.close(run);
    this.#live.set(run, { epoch, report });
  }

  /** The run, or this life of its tool-runner, is over. */
  close(run: string): void {
    const last = this.#live.get(run);
    if (last === undefined) return;
    this.#live.delete(run);
    this.#over = sum(this.#over, withNothingOpen(last.report));
  }

  get total(): RunnerReport {
    return [...this.#live.values()].reduce((total, { report }) => sum(total, report), this.#over);
  }
}

function emptyReport(): RunnerReport {
  return {
    pool: { size: 0, waiting: 0, waitingBytes: 0, warm: 0, cold: 0, prepared: 0, discarded: 0 },
    calls: { running: 0, waiting: 0, outcomes: {}, durationMs: 0 },
  };
}

function withNothingOpen({ pool, calls }: RunnerReport): RunnerReport {
  return {
    pool: { ...pool, size: 0, waiting: 0, waitingBytes: 0 },
    calls: { ...calls, running: 0, waiting: 0 },
  };
}

function sum(left: RunnerReport, right: RunnerReport): RunnerReport {
  return {
    pool: sumOf(left.pool, right.pool),
    calls: {
      running: left.calls.running + right.calls.running,
      waiting: left.calls.waiting + right.calls.waiting,
      durationMs: left.calls.durationMs + right.calls.durationMs,
      outcomes: sumOf(left.calls.outcomes, right.calls.outcomes),
    },
  };
}

function sumOf<Numbers extends Partial<Record<string, number>>>(
  left: Numbers,
  right: Numbers,
): Numbers {
  const names = new Set([...Object.keys(left), ...Object.keys(right)]);
  return Object.fromEntries(
    [...names].map((name) => [name, (left[name] ?? 0) + (right[name] ?? 0)]),
  ) as Numbers;
}
