import { constants } from "node:os";
import timers from "node:timers/promises";
import { KEY_GAP_MS } from "./states/screen-rule.ts";

/** Why we end a run that would go on. */
export type StopReason =
  | "cancelled"
  | "timed_out"
  | "agentlet_fault"
  | "recorder_lost"
  | "out_of_memory"
  | "stalled"
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
  /** after the interrupt key: time to end the turn and to write down what it was doing */
  interruptMs: 3000,
  /** after the keys that make it leave */
  quitMs: 2000,
  terminateMs: 2000,
};

export interface Stoppable {
  /** the program's own end */
  exited: Promise<unknown>;
  type(bytes: Buffer): void;
  signalAll(signal: number): void;
  kill(): Promise<void>;
  /** how a CLI that is known is asked to go; null for any other program, which gets Ctrl-C */
  keys: { interrupt: string; quit: string } | null;
  /** settles once no turn runs; at once when none does */
  idle(): Promise<void>;
}

/**
 * Ends a program step by step: its interrupt key and, once it is idle and its transcript with it written, the keys that make it
 * leave; then SIGTERM to all of zone A; then the whole namespace, which leaves nothing alive, whatever its session or parent.
 */
export async function stopProgram(
  program: Stoppable,
  reason: StopReason,
  limits = STOP_LIMITS,
): Promise<void> {
  if (reason !== "out_of_memory") {
    if (await leavesByKeys(program, limits)) return;
    program.signalAll(constants.signals.SIGTERM);
    // One that is stopped (Ctrl-Z, SIGSTOP) would get it when it is woken, which is never.
    program.signalAll(constants.signals.SIGCONT);
    if (await endsWithin(program.exited, limits.terminateMs)) return;
  }
  await program.kill();
}

async function leavesByKeys(program: Stoppable, limits: typeof STOP_LIMITS): Promise<boolean> {
  const { keys, exited } = program;
  if (keys === null) {
    program.type(Buffer.from("\x03"));
    return await endsWithin(exited, limits.quitMs);
  }
  const idle = program.idle();
  if (!(await endsWithin(idle, 0)))
    for (const [at, key] of keys.interrupt.split("").entries()) {
      if (at > 0) await timers.setTimeout(KEY_GAP_MS);
      program.type(Buffer.from(key));
    }
  if (!(await endsWithin(Promise.race([idle, exited]), limits.interruptMs))) return false;
  program.type(Buffer.from(keys.quit));
  return await endsWithin(exited, limits.quitMs);
}

async function endsWithin(ended: Promise<unknown>, ms: number): Promise<boolean> {
  const over = new AbortController();
  const late = timers.setTimeout(ms, false, { signal: over.signal }).catch(() => false);
  const result = await Promise.race([ended.then(() => true), late]);
  over.abort();
  return result;
}
