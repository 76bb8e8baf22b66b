import type { PoolMetrics } from "../kit/sandbox-pool.ts";
import type { AuditRecord } from "../protocol/audit.ts";
import type { RunnerReport } from "../protocol/metrics.ts";
import type { CallQueue } from "./queue.ts";

/** Counts how calls ended, from the records that say so. */
export class CallTally {
  readonly #outcomes: RunnerReport["calls"]["outcomes"] = {};
  #durationMs = 0;

  take(record: AuditRecord): void {
    if (record.type !== "call") return;
    this.#outcomes[record.outcome] = (this.#outcomes[record.outcome] ?? 0) + 1;
    this.#durationMs += record.durationMs;
  }

  report(queue: CallQueue, pool: PoolMetrics): RunnerReport {
    const { running, waiting } = queue;
    const outcomes = { ...this.#outcomes };
    return { pool, calls: { running, waiting, outcomes, durationMs: this.#durationMs } };
  }
}
