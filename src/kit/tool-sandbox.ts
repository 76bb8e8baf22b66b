import { closeSync, existsSync } from "node:fs";
import type { Socket } from "node:net";
import timers from "node:timers/promises";
import { openCallPipes } from "./call-pipes.ts";
import { type ControlGroup, openControlGroup } from "./control-groups.ts";
import { InitChannel, type ProgramExit, type SetUpFailure } from "./init-channel.ts";
import { native } from "./native.ts";
import { PlatformError } from "./platform-error.ts";
import type { SandboxPlan } from "./sandbox-arguments.ts";
import { limitsOf, type SandboxProfile, tmpfsOf } from "./sandbox-profile.ts";
import { templateText } from "./sandbox-template.ts";
import type { Sandbox, SandboxStdio } from "./sandbox.ts";
import { startFailure } from "./start-failure.ts";
import { type SpawnBind, ToolSpawner } from "./tool-spawner.ts";

const START_TIMEOUT_MS = 20_000;
/** For a pid 1 that has said its last word. */
const KILL_AFTER_MS = 100;
const GONE_WITHIN_MS = 2000;
const LOOK_EVERY_MS = 5;
const REQUEST = 1;
/** In `cols` of a request: the directory that the tool works in is wanted. */
const DIRECTORY_WANTED = 8;

let spawner: ToolSpawner | undefined;
let blanks = 0;

/**
 * The process that starts sandboxes, started now if it is not there. Call it while this process is small. `program`: another build of
 * it, for a process that starts no other.
 */
export function toolSpawner(program?: string): ToolSpawner {
  if (spawner === undefined || spawner.isClosed) {
    spawner = new ToolSpawner(program);
    if (blanks > 0) spawner.keepBlanks(blanks);
  }
  return spawner;
}

/** Has the process that starts sandboxes keep so many begun, without a root, for calls of any profile. */
export function keepBlanks(count: number): void {
  blanks = count;
  if (count === 0 && spawner?.isClosed !== false) return;
  try {
    toolSpawner().keepBlanks(count);
  } catch {
    // It is gone; the next call starts another one, or says why it cannot.
  }
}

/**
 * A tool's sandbox from its first process to its last. It is prepared first: namespaces, root, private file systems, listeners.
 * Then it gets its one call, with the binds, files, limits and pipes that belong to it.
 */
export class ToolSandbox implements Sandbox {
  readonly listeners = new Map<number, number>();
  readonly toolExit: Promise<ProgramExit>;
  readonly closed: Promise<void>;
  stdin: Socket | null = null;
  stdout: Socket | null = null;
  stderr: Socket | null = null;
  pid = -1;
  readonly #spawner: ToolSpawner;
  readonly #id: number;
  readonly #channel: InitChannel;
  readonly #tool = Promise.withResolvers<ProgramExit>();
  readonly #started = Promise.withResolvers<void>();
  readonly #closing = Promise.withResolvers<void>();
  readonly #group: ControlGroup | null;
  #hasStarted = false;
  #hasEnded = false;
  #isGone = false;
  #isHandedOver = false;
  #limitReached: "memory" | null = null;
  #directory: number | null = null;

  /** `binds` null: they come with the call. */
  constructor(profile: SandboxProfile, binds: readonly SpawnBind[] | null) {
    const { plan, identity, ports } = profile;
    this.#spawner = toolSpawner();
    this.toolExit = this.#tool.promise;
    this.closed = this.#closing.promise;
    this.#started.promise.catch(() => {});
    const template = this.#spawner.template(profile.template, () => templateText(plan, identity));
    this.#group = plan.enforced === undefined ? null : openControlGroup(plan.enforced);
    const [ours, theirs] = native().socketPair();
    try {
      this.#id = this.#spawner.start(
        {
          template,
          isComplete: plan.binds.length === 0 && plan.files.every(({ shared }) => shared === true),
          hostname: plan.hostname,
          ports,
          tmpfs: tmpfsOf(plan),
          binds,
          control: theirs,
          groups: this.#group?.descriptors ?? [],
        },
        {
          onFailed: (failure) => this.#onRefused(failure),
          onGone: () => this.#finish(),
          onLost: () => void this.#onLost(),
        },
      );
    } catch (error) {
      closeSync(ours);
      void this.#group?.close();
      throw error;
    } finally {
      closeSync(theirs);
    }
    this.#channel = new InitChannel(ours, {
      onPid: (pid) => (this.pid = pid),
      onListener: (port, descriptor) => this.listeners.set(port, descriptor),
      onReady: () => {},
      onDirectory: (descriptor) => {
        this.#closeDirectory();
        this.#directory = descriptor;
      },
      onStarted: () => this.#onStarted(),
      onEnded: (_id, exit) => {
        this.#tool.resolve(exit);
        this.#hasEnded = true;
        this.#onStarted();
      },
      onRefused: (failure) => this.#onRefused(failure),
      onClosed: () => this.#tool.resolve({ kind: "lost" }),
    });
    // What it says before its call is heard with the call; until then it keeps nobody alive.
    this.#channel.watch(false);
    this.#spawner.idle(this.#id, true);
  }

  get limitReached(): "memory" | null {
    return this.#limitReached;
  }

  /** Its pid 1 as the host knows it, asked for while it waits; null before it is known. */
  get waitingPid(): number | null {
    this.#channel.hear();
    return this.pid === -1 ? null : this.pid;
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  /** Gives it its call; resolves when the tool has become its program, or could not. */
  async run(
    plan: SandboxPlan,
    stdio: SandboxStdio,
    laterBinds: readonly SpawnBind[] | null,
    signal: AbortSignal,
  ): Promise<void> {
    const pipes = openCallPipes(stdio);
    this.#spawner.idle(this.#id, false);
    try {
      for (const { path, data, mode, shared } of plan.files)
        if (shared !== true) this.#channel.file(path, data, mode);
      const { argv, cwd, env } = plan;
      const rows = plan.binds.length > 0 ? 1 : 0;
      const cols = pipes.bits | (plan.keepsDirectory === true ? DIRECTORY_WANTED : 0);
      const request = { id: REQUEST, argv, cwd, env, cols, rows };
      this.#channel.start(request, pipes.theirs, limitsOf(plan));
      // Not before somebody takes them: tool-spawner waits until they are taken.
      if (laterBinds !== null && laterBinds.length > 0) this.#spawner.bind(this.#id, laterBinds);
      [this.stdin, this.stdout, this.stderr] = pipes.streams();
    } finally {
      pipes.closeTheirs();
    }
    this.#channel.watch();
    const abandon = (): void => this.#started.reject(signal.reason);
    const late = setTimeout(
      () => this.#started.reject(startFailure(`it took longer than ${START_TIMEOUT_MS} ms`)),
      START_TIMEOUT_MS,
    );
    signal.addEventListener("abort", abandon, { once: true });
    if (signal.aborted) abandon();
    try {
      await this.#started.promise;
      this.#isHandedOver = true;
    } finally {
      clearTimeout(late);
      signal.removeEventListener("abort", abandon);
    }
  }

  takeDirectory(): number | null {
    const taken = this.#directory;
    this.#directory = null;
    return taken;
  }

  start(): never {
    throw new TypeError("A tool's sandbox starts one program, at its beginning");
  }

  signalAll(): never {
    throw new TypeError("A tool's sandbox is killed as a whole");
  }

  async kill(): Promise<void> {
    if (this.#isGone) return await this.closed;
    this.#spawner.idle(this.#id, false);
    // Its pid 1 ends after its last word, and all with it: then there is nothing to ask for, and nobody to wake.
    if (!this.#hasEnded) this.#spawner.kill(this.#id);
    const late = setTimeout(() => this.#spawner.kill(this.#id), KILL_AFTER_MS);
    await this.closed;
    clearTimeout(late);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    this.#closeDirectory();
    for (const stream of [this.stdin, this.stdout, this.stderr]) stream?.destroy();
    if (!this.#isHandedOver) for (const fd of this.listeners.values()) closeSync(fd);
    this.#isHandedOver = true;
  }

  #closeDirectory(): void {
    const descriptor = this.takeDirectory();
    if (descriptor !== null) closeSync(descriptor);
  }

  #onStarted(): void {
    this.#hasStarted = true;
    this.#started.resolve();
    // Its last word comes just before its end, and is read then: being woken for it would only delay that end.
    this.#channel.watch(false);
  }

  #onRefused(failure: SetUpFailure): void {
    const moved = failure.errno === "ELOOP" && failure.step === "open";
    const path = failure.path === "" ? undefined : failure.path;
    this.#started.reject(
      moved && path !== undefined
        ? new PlatformError(
            "sandbox_start_failed",
            `Sandbox is refused: "${path}" was replaced by a link or moved while it was built`,
            {
              path,
              fix: "look who changes that path; put it back, then try again",
              retryable: true,
            },
          )
        : startFailure(`${failure.step} failed with ${failure.errno}`, {
            path,
            refusal: failure,
            isIdMapping: failure.step.startsWith("id-mapped mount"),
          }),
    );
    this.#tool.resolve({ kind: "lost" });
    // A sandbox that never was has no end of its own to wait for.
    if (this.pid === -1) this.#finish();
  }

  #finish(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#channel.finish();
    // Making an error costs more than not needing it.
    if (!this.#hasStarted) this.#started.reject(startFailure("it ended without a word"));
    if (this.#group === null) return this.#closing.resolve();
    if (this.#group.wasOutOfMemory()) this.#limitReached = "memory";
    void this.#group.close().finally(this.#closing.resolve);
  }

  /** Nobody is left to say that it is gone, so we look. */
  async #onLost(): Promise<void> {
    const deadline = performance.now() + GONE_WITHIN_MS;
    while (this.pid > 0 && existsSync(`/proc/${this.pid}`) && performance.now() < deadline)
      await timers.setTimeout(LOOK_EVERY_MS);
    this.#finish();
  }
}
