import { rm } from "node:fs/promises";
import type { Log } from "../kit/log.ts";
import type { RunEnd } from "../protocol/outcome.ts";
import type { Run } from "./run.ts";
import type { Runs } from "./runs.ts";
import { endWithSpool, sealRun } from "./seal-recording.ts";
import { isGone } from "../kit/process-alive.ts";

/** How long a run without a supervisor may be without an agentlet, and how long its recorder may go on shipping after that. */
export interface AdoptionTimes {
  checkMs: number;
  agentletMs: number;
  recorderMs: number;
  /** How long a pod may take until its agentlet says its first word: images are fetched, a node is found. */
  podStartMs: number;
}
/** Above an agentlet's longest pause between two tries to connect, and short enough to close such a run within 10 s. */
export const ADOPTION_TIMES: AdoptionTimes = {
  checkMs: 1000,
  agentletMs: 8000,
  recorderMs: 30_000,
  podStartMs: 15 * 60_000,
};

const MARKER = "The recording ends here: supervisor, agentlet and recorder are gone";

/** Closes the runs that nobody is left to close. Looks at them until it is disposed. */
export class Adoption implements AsyncDisposable {
  readonly #runs: Runs;
  readonly #times: AdoptionTimes;
  readonly #log: Log;
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<void> = Promise.resolve();
  #busy = false;

  constructor(runs: Runs, times: AdoptionTimes, log: Log) {
    this.#runs = runs;
    this.#times = times;
    this.#log = log;
    this.#timer = setInterval(() => {
      if (!this.#busy) this.#looking = this.#look();
    }, times.checkMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    this.#busy = true;
    for (const run of this.#runs.live) {
      if (!this.#isOrphan(run)) continue;
      try {
        await this.#close(run);
      } catch (error) {
        // A full disk, for one; the next look tries again.
        this.#log.error({ run: run.id, err: error }, "orphaned run could not be closed");
      }
    }
    this.#busy = false;
  }

  #isOrphan(run: Run): boolean {
    const isComplete = run.reportedEnd !== null && run.info.recording?.verified === true;
    // Everything is said and safe: there is nothing to wait for but the supervisor's own word, which will not come.
    if (!isComplete && !this.#isLeft(run)) return false;
    // Last, because it asks the kernel.
    return run.record.pod === true || isGone(run.info.supervisorPid, run.record.supervisorStart);
  }

  /** Whether it has been without an agentlet for so long that none comes, and its recorder has had its time to ship. */
  #isLeft(run: Run): boolean {
    const absent = (role: "agentlet" | "recorder"): number =>
      performance.now() - (run.absentSince[role] ?? performance.now());
    const isStarting =
      run.record.pod === true && run.record.epochs.agentlet === 0 && run.info.phase === "starting";
    if (absent("agentlet") < (isStarting ? this.#times.podStartMs : this.#times.agentletMs))
      return false;
    // A recorder that is still connected ships and verifies by itself, for a bounded time.
    // That of a pod may be starting again; not one that never came to a run whose agentlet has said how it ended.
    const neverCame = run.reportedEnd !== null && run.committedBytes === 0;
    const comesBack =
      run.record.pod === true &&
      !isStarting &&
      !neverCame &&
      absent("recorder") < this.#times.recorderMs;
    const ships =
      (run.links.recorder !== null || comesBack) && run.info.recording?.verified !== true;
    return !ships || absent("agentlet") > this.#times.agentletMs + this.#times.recorderMs;
  }

  async #close(run: Run): Promise<void> {
    for (const link of Object.values(run.links)) link?.close(1000, "The run is closed");
    await run.settled();
    const left = await sealRun(run, {
      marker: MARKER,
      verifies: ({ sameAsSpool }) => sameAsSpool,
      log: this.#log,
    });
    const end = run.reportedEnd ?? lostEnd(run, this.#times.podStartMs);
    await run.end(endWithSpool(end, left, run.record.spoolDir));
    if (left === null) await rm(run.record.spoolDir, { recursive: true, force: true });
    await rm(run.record.runtimeDir, { recursive: true, force: true });
    if (run.record.pod === true) this.#log.info({ run: run.id }, "run of a pod closed");
    else this.#log.warn({ run: run.id, left }, "orphaned run closed");
  }
}

function lostEnd(run: Run, podStartMs: number): RunEnd {
  const { supervisorPid, phase, agent } = run.info;
  const isPod = run.record.pod === true;
  const gone = isPod ? "The pod" : `The supervisor (pid ${supervisorPid}) and the agentlet`;
  const cause =
    isPod && phase === "starting"
      ? `The pod did not come to its agent within ${Math.ceil(podStartMs / 60_000)} min`
      : `${gone} ended without a word`;
  return {
    outcome: "failed",
    reason: "agentlet_fault",
    exitCode: null,
    signal: null,
    detail: {
      cause,
      fix: isPod
        ? `look what kubectl describe pod ${agent} says: an image, a Secret or a node may be missing; then start the run again`
        : "see the logs in the run's directory, and start the run again",
    },
  };
}
