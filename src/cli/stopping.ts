import { findManager } from "./client.ts";
import type { CommandContext, CommandOptions } from "./command.ts";
import type { SupervisorProcess } from "./supervisor-process.ts";

/** Turns signals into a wish to stop the run, or, with a person attached, into leaving it. */
export class Stopping implements Disposable {
  readonly #supervisor: SupervisorProcess;
  readonly #stopListening: () => void;
  readonly leaving = new AbortController();
  #target: { dataDir: string; run: string } | null = null;
  #asked = 0;
  #signal: NodeJS.Signals | null = null;

  constructor(
    context: Pick<CommandContext<CommandOptions>, "onSignal">,
    supervisor: SupervisorProcess,
    isAttended: boolean,
  ) {
    this.#supervisor = supervisor;
    this.#stopListening = context.onSignal((signal) => {
      // A person's terminal that is closed, or a viewer that is told to end, leaves the run alone.
      const isLeaving = signal === "SIGHUP" || (isAttended && this.#target !== null);
      if (!isLeaving) return this.stop();
      this.#signal = signal;
      this.leaving.abort();
    });
  }

  /** True once somebody asked for the end of the run. */
  get isAsked(): boolean {
    return this.#asked > 0;
  }

  /** The signal that made this process leave the run; null when there was none. */
  get signal(): NodeJS.Signals | null {
    return this.#signal;
  }

  /** The run exists: from now on the manager is asked. */
  watch(dataDir: string, run: string): void {
    this.#target = { dataDir, run };
  }

  /** Asks the manager; the supervisor itself when there is none yet, when it fails, or when asked again. */
  stop(): void {
    this.#asked += 1;
    const target = this.#target;
    if (target === null || this.#asked > 1) return this.#supervisor.stop();
    void findManager(target.dataDir)
      .then(async (manager) => {
        if (manager === null) this.#supervisor.stop();
        else await manager.stop(target.run);
      })
      .catch(() => this.#supervisor.stop());
  }

  [Symbol.dispose](): void {
    this.#stopListening();
  }
}
