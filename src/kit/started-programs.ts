import type { InitChannel, OwnOutput, ProgramExit } from "./init-channel.ts";
import { PlatformError } from "./platform-error.ts";

/** A program to start on a new terminal. */
export interface ProgramRequest {
  argv: string[];
  cwd: string;
  env: Record<string, string>;
  cols: number;
  rows: number;
  /** true: its standard output is a socket of its own that no other process can open; `StartedProgram.output` is the other end */
  outputApart?: boolean;
}

export interface StartedProgram {
  /** inside the sandbox's pid namespace */
  pid: number;
  /** PTY master, not blocking; the caller owns it */
  master: number;
  /** with `outputApart`; the caller owns both */
  output: OwnOutput | null;
  /** settles once and never rejects */
  exited: Promise<ProgramExit>;
  /** Signals its process group; does nothing once it has ended. */
  signal(signal: number): void;
}

interface Waiter {
  channel: InitChannel;
  started: PromiseWithResolvers<StartedProgram>;
  exited: PromiseWithResolvers<ProgramExit>;
}

/** The programs that a zone-init was asked to start: who waits for which answer. */
export class StartedPrograms {
  readonly #waiting = new Map<number, Waiter>();
  #lastId = 0;

  /** Asks for one. Rejects with `spawn_failed` when it cannot be started. */
  async start(channel: InitChannel, request: ProgramRequest): Promise<StartedProgram> {
    this.#lastId += 1;
    const id = this.#lastId;
    const waiter: Waiter = {
      channel,
      started: Promise.withResolvers<StartedProgram>(),
      exited: Promise.withResolvers<ProgramExit>(),
    };
    this.#waiting.set(id, waiter);
    try {
      channel.start({ id, ...request });
    } catch (error) {
      this.#waiting.delete(id);
      throw error;
    }
    return await waiter.started.promise;
  }

  onStarted(id: number, pid: number, master: number | null, output: OwnOutput | null): void {
    const waiter = this.#waiting.get(id);
    if (waiter === undefined || master === null) return;
    const { channel, exited } = waiter;
    const signal = (number: number) => channel.signalProgram(id, number);
    waiter.started.resolve({ pid, master, output, exited: exited.promise, signal });
  }

  onEnded(id: number, exit: ProgramExit): void {
    const waiter = this.#waiting.get(id);
    if (waiter === undefined) return;
    this.#waiting.delete(id);
    waiter.exited.resolve(exit);
    if (exit.kind !== "failed") return;
    waiter.started.reject(
      new PlatformError(
        "spawn_failed",
        `Cannot start the program: ${exit.step} failed with ${exit.errno}`,
        { cause: exit },
      ),
    );
  }

  /** The init is gone: nobody knows how they ended. */
  onLost(): void {
    for (const waiter of this.#waiting.values()) {
      waiter.exited.resolve({ kind: "lost" });
      waiter.started.reject(
        new PlatformError("spawn_failed", "Cannot start the program: the sandbox ended"),
      );
    }
    this.#waiting.clear();
  }
}
