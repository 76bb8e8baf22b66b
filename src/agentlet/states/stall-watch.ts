import type { Evidence } from "./evidence.ts";

/** Less CPU time than this in a second of looking is no sign of life: timers of an idle runtime take some. */
const ALIVE_CPU_MS_PER_SECOND = 20;

export interface LifeSigns extends Pick<
  Evidence,
  "lastSignalMsAgo" | "lastTranscriptMsAgo" | "tool"
> {
  nowMs: number;
  outputOffset: number;
  cpuMs: number;
  /** the CLI says, or shows, that a turn runs */
  isBusy: boolean;
}

/** Tells slow from stalled: output, CPU, hooks, a transcript that grows and a tool in flight are each a sign of life, and only a busy CLI can stall. */
export class StallWatch {
  readonly #afterMs: number;
  #last: LifeSigns | null = null;
  #aliveAtMs = 0;

  constructor(afterMs: number) {
    this.#afterMs = afterMs;
  }

  /** How long there was no sign of life; true `stalled` once that is too long. Called about once a second. */
  look(signs: LifeSigns): { silentMs: number; stalled: boolean } {
    const last = this.#last;
    this.#last = signs;
    const sinceMs = last === null ? 1000 : Math.max(1, signs.nowMs - last.nowMs);
    const isAlive =
      last === null ||
      !signs.isBusy ||
      signs.tool !== null ||
      signs.outputOffset !== last.outputOffset ||
      (signs.lastSignalMsAgo ?? Infinity) < sinceMs ||
      (signs.lastTranscriptMsAgo ?? Infinity) < sinceMs ||
      (signs.cpuMs - last.cpuMs) / (sinceMs / 1000) > ALIVE_CPU_MS_PER_SECOND;
    if (isAlive) this.#aliveAtMs = signs.nowMs;
    const silentMs = signs.nowMs - this.#aliveAtMs;
    return { silentMs, stalled: silentMs >= this.#afterMs };
  }
}
