import { errnoOf, messageOf } from "../kit/platform-error.ts";
import { ExitCode, signalExitCode } from "../protocol/outcome.ts";
import { findManager } from "./client.ts";
import type { CommandContext, CommandOptions } from "./command.ts";
import type { SupervisorProcess } from "./supervisor-process.ts";

/** How long a supervisor that has not registered its run may take to answer a stop. */
const STARTING_STOP_MS = 5000;

/** Turns signals into a wish to stop the run, or, with a person attached, into leaving it. */
export class Stopping implements Disposable {
  readonly #supervisor: SupervisorProcess;
  readonly #stopListening: () => void;
  readonly leaving = new AbortController();
  #target: { dataDir: string; run: string } | null = null;
  #asked = 0;
  #exitCode: number = ExitCode.done;
  #problem: string | null = null;
  #hasKilled = false;
  #patience: NodeJS.Timeout | undefined;

  constructor(
    context: Pick<CommandContext<CommandOptions>, "onSignal" | "onOutputError">,
    supervisor: SupervisorProcess,
    isAttended: boolean,
  ) {
    this.#supervisor = supervisor;
    this.#stopListening = context.onSignal((signal) => {
      // A person's terminal that is closed, or a viewer that is told to end, leaves the run alone. Ctrl-C is a signal only
      // until the terminal is the program's: then somebody does not want the run.
      const isAway = isAttended && this.#target !== null && signal !== "SIGINT";
      if (signal === "SIGHUP" || isAway) this.#leave(signalExitCode(signal));
      else this.stop();
    });
    // For good: an error of the last write comes when everything is over, and must not change the exit code.
    context.onOutputError((error) => this.#onOutputLost(error));
  }

  /** True once somebody asked for the end of the run. */
  get isAsked(): boolean {
    return this.#asked > 0;
  }

  /** The exit code of a process that left the run: how it goes on is not known. */
  get exitCode(): number {
    return this.#exitCode;
  }

  /** Why the run is left, when nobody asked for it. */
  get problem(): string | null {
    return this.#problem;
  }

  /** True when the supervisor had to be killed before the run was registered. */
  get hasKilled(): boolean {
    return this.#hasKilled;
  }

  /** The run exists: from now on the manager is asked. */
  watch(dataDir: string, run: string): void {
    clearTimeout(this.#patience);
    this.#target = { dataDir, run };
  }

  /**
   * Asks the manager; the supervisor itself when there is none yet, when it fails, or when asked again. One that has not registered
   * its run is killed when it is asked again or takes too long: a system call that does not return holds it, and nothing else would end it.
   */
  stop(): void {
    this.#asked += 1;
    const target = this.#target;
    if (target === null) {
      if (this.#asked > 1) return this.#kill();
      this.#patience = setTimeout(() => this.#kill(), STARTING_STOP_MS);
    }
    if (target === null || this.#asked > 1) return this.#supervisor.stop();
    void findManager(target.dataDir)
      .then(async (manager) => {
        if (manager === null) this.#supervisor.stop();
        else await manager.stop(target.run);
      })
      .catch(() => this.#supervisor.stop());
  }

  #kill(): void {
    this.#hasKilled = true;
    this.#supervisor.kill();
  }

  #leave(exitCode: number): void {
    this.#exitCode = exitCode;
    this.leaving.abort();
  }

  /** Nobody reads any more (`| head`), or there is no room: the run goes on without this process. */
  #onOutputLost(error: Error): void {
    this.#problem = `Cannot write the output: ${errnoOf(error) ?? messageOf(error)}`;
    this.#leave(errnoOf(error) === "EPIPE" ? signalExitCode("SIGPIPE") : ExitCode.failed);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#patience);
    this.#stopListening();
  }
}
