import { type ChildProcess, spawn, type StdioOptions } from "node:child_process";
import { closeSync } from "node:fs";
import type { Readable, Writable } from "node:stream";
import timers from "node:timers/promises";
import { InitChannel, type ProgramExit } from "./init-channel.ts";
import { native } from "./native.ts";
import { PlatformError } from "./platform-error.ts";
import type { Sandbox } from "./sandbox.ts";
import { type ProgramRequest, type StartedProgram, StartedPrograms } from "./started-programs.ts";

const START_TIMEOUT_MS = 20_000;
const STDERR_KEPT_BYTES = 4096;

/** What a launcher that ended before zone-init answered left: its last words, and its exit code when it had one. */
export interface FailedStart {
  said: string;
  exitCode: number | null;
}

/** zone-init as a child of ours, from its launch to its end. Its kinds differ in what takes its programs away. */
export abstract class ZoneProcess implements Sandbox {
  readonly pid: number;
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  readonly listeners = new Map<number, number>();
  /** zone-init has no tool */
  readonly toolExit: Promise<ProgramExit>;
  readonly closed: Promise<void>;
  protected readonly child: ChildProcess;
  readonly #channel: InitChannel;
  readonly #ready = Promise.withResolvers<void>();
  readonly #programs = new StartedPrograms();
  #isGone = false;

  constructor(child: ChildProcess, control: number) {
    this.child = child;
    this.pid = child.pid ?? -1;
    this.stdin = child.stdin;
    this.stdout = child.stdout;
    this.stderr = child.stderr;
    const lost = Promise.withResolvers<ProgramExit>();
    this.toolExit = lost.promise;
    const gone = Promise.withResolvers<void>();
    child.once("exit", () => gone.resolve());
    child.once("error", () => gone.resolve());
    this.#channel = new InitChannel(control, {
      onListener: (port, descriptor) => this.listeners.set(port, descriptor),
      onReady: () => this.#ready.resolve(),
      onStarted: (id, pid, master, output) => this.#programs.onStarted(id, pid, master, output),
      onEnded: (id, exit) => this.#programs.onEnded(id, exit),
      onClosed: () => {
        lost.resolve({ kind: "lost" });
        this.#programs.onLost();
      },
    });
    this.closed = gone.promise.then(() => {
      this.#isGone = true;
      this.#channel.finish();
    });
  }

  abstract readonly rootPath: string;

  get isGone(): boolean {
    return this.#isGone;
  }

  /**
   * Resolves when zone-init answers and every listener has arrived. Rejects with what `onFailed` makes of a launcher that ended before,
   * with `sandbox_start_failed` after 20 s, or with the signal's reason. Standard error is paused afterwards.
   */
  async ready(onFailed: (failed: FailedStart) => Error, signal: AbortSignal): Promise<void> {
    let said = "";
    const keep = (chunk: Buffer): void => {
      said = (said + chunk.toString("utf8")).slice(-STDERR_KEPT_BYTES);
    };
    this.stderr?.on("data", keep);
    const stop = new AbortController();
    const failed = this.closed.then(async () => {
      // Its last words may still be on their way.
      await timers.setImmediate();
      throw onFailed({ said: said.trim(), exitCode: this.child.exitCode });
    });
    const late = timers
      .setTimeout(START_TIMEOUT_MS, undefined, { signal: AbortSignal.any([signal, stop.signal]) })
      .then(() => {
        throw new PlatformError(
          "sandbox_start_failed",
          `Sandbox did not start within ${START_TIMEOUT_MS} ms`,
          { retryable: true, fix: "try again when the machine is less busy" },
        );
      });
    try {
      await Promise.race([this.#ready.promise, failed, late]);
    } catch (error) {
      // The timer reports an abort as one of its own.
      throw signal.aborted ? signal.reason : error;
    } finally {
      stop.abort();
      this.stderr?.off("data", keep);
      this.stderr?.pause();
    }
  }

  async start(request: ProgramRequest): Promise<StartedProgram> {
    if (this.#isGone)
      throw new PlatformError("spawn_failed", "Cannot start a program: the sandbox is gone");
    return await this.#programs.start(this.#channel, request);
  }

  signalAll(signal: number): void {
    if (!this.#isGone) this.#channel.signalAll(signal);
  }

  abstract kill(): Promise<void>;

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** What to launch. zone-init inherits `descriptors` from 4 on; they are closed here. */
export interface ZoneLaunch {
  program: string;
  arguments: readonly string[];
  env: Readonly<Record<string, string>>;
  stdio: readonly ("ignore" | "pipe")[];
  descriptors: readonly number[];
}

/** Launches it with its end of a control socket as descriptor 3; gives the child and our end. */
export function launchZone(launch: ZoneLaunch): { child: ChildProcess; control: number } {
  const inherited = [...launch.descriptors];
  try {
    const [control, theirs] = native().socketPair();
    inherited.unshift(theirs);
    try {
      const stdio: StdioOptions = [...launch.stdio, ...inherited];
      const child = spawn(launch.program, launch.arguments, { env: launch.env, cwd: "/", stdio });
      return { child, control };
    } catch (error) {
      closeSync(control);
      throw error;
    }
  } finally {
    for (const descriptor of inherited) closeSync(descriptor);
  }
}

/** Waits for the zone as `open` does; one that does not come is killed, and its listeners are closed. */
export async function openedZone<Z extends ZoneProcess>(
  zone: Z,
  open: (zone: Z) => Promise<void>,
): Promise<Z> {
  try {
    await open(zone);
    return zone;
  } catch (error) {
    await zone.kill();
    for (const descriptor of zone.listeners.values()) closeSync(descriptor);
    throw error;
  }
}
