import { constants } from "node:os";
import timers from "node:timers/promises";

/** Why we end a run that would go on. */
export type StopReason =
  | "cancelled"
  | "timed_out"
  | "agentlet_fault"
  | "recorder_lost"
  | "out_of_memory"
  | "hung_after_result";

export interface Stop {
  reason: StopReason;
  /** a sentence for a person */
  cause: string;
}

/** The first wish to end the run; later ones change nothing. */
export class StopWish {
  /** Settles at the first wish; never rejects. */
  readonly wished: Promise<Stop>;
  readonly #resolve: (stop: Stop) => void;
  #stop: Stop | null = null;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<Stop>();
    this.wished = promise;
    this.#resolve = resolve;
  }

  get stop(): Stop | null {
    return this.#stop;
  }

  wish(reason: StopReason, cause: string): void {
    this.#stop ??= { reason, cause };
    this.#resolve(this.#stop);
  }
}

export const STOP_LIMITS = {
  /** after the interrupt key: time to write down what it was doing */
  interruptMs: 2000,
  terminateMs: 2000,
};

export interface Stoppable {
  /** the program's own end */
  exited: Promise<unknown>;
  type(bytes: Buffer): void;
  signalAll(signal: number): void;
  kill(): Promise<void>;
}

/** Ends a program step by step: its interrupt key, SIGTERM to all of zone A, then the whole namespace. */
export async function stopProgram(
  program: Stoppable,
  reason: StopReason,
  limits = STOP_LIMITS,
): Promise<void> {
  if (reason !== "out_of_memory") {
    program.type(Buffer.from("\x03"));
    if (await endsWithin(program.exited, limits.interruptMs)) return;
    program.signalAll(constants.signals.SIGTERM);
    if (await endsWithin(program.exited, limits.terminateMs)) return;
  }
  await program.kill();
}

async function endsWithin(ended: Promise<unknown>, ms: number): Promise<boolean> {
  const over = new AbortController();
  const late = timers.setTimeout(ms, false, { signal: over.signal }).catch(() => false);
  const result = await Promise.race([ended.then(() => true), late]);
  over.abort();
  return result;
}
