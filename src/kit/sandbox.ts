import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync } from "node:fs";
import { randomInt } from "node:crypto";
import { delimiter, join } from "node:path";
import type { Readable, Writable } from "node:stream";
import timers from "node:timers/promises";
import { InitChannel, type ProgramExit } from "./init-channel.ts";
import { checkMountedBinds, movableBinds } from "./mounted-binds.ts";
import { native, nativeProgram } from "./native.ts";
import { PlatformError } from "./platform-error.ts";
import { killNow } from "./process-alive.ts";
import { childrenOf } from "./process-tree.ts";
import { type SandboxLine, type SandboxPlan, sandboxLine } from "./sandbox-arguments.ts";
import { layOut } from "./sandbox-layout.ts";
import { compileSeccomp } from "./seccomp.ts";
import { type ProgramRequest, StartedPrograms } from "./started-programs.ts";
import { openToolSandbox } from "./sandbox-pool.ts";

export type { ProgramExit } from "./init-channel.ts";
export type { SandboxPlan } from "./sandbox-arguments.ts";

export interface SandboxStdio {
  stdin: "ignore" | "pipe";
  stdout: "ignore" | "pipe";
  stderr: "ignore" | "pipe";
}

export interface StartedProgram {
  /** inside the sandbox's pid namespace */
  pid: number;
  /** PTY master, not blocking; the caller owns it */
  master: number;
  /** settles once and never rejects */
  exited: Promise<ProgramExit>;
}

/** One sandbox: a pid namespace whose init is ours. Disposing it kills all of it. */
export interface Sandbox extends AsyncDisposable {
  /** host pid of the outermost process; its descendants are the whole sandbox */
  readonly pid: number;
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  /** port inside → listening descriptor, for `net.Server.listen({fd})`; the caller owns them */
  readonly listeners: Map<number, number>;
  /** zone-init: starts a program as session leader on a new PTY inside. Rejects with `PlatformError` `spawn_failed`. */
  start(request: ProgramRequest): Promise<StartedProgram>;
  /** tool-init: how the tool ended; never rejects */
  readonly toolExit: Promise<ProgramExit>;
  /** tool-init with `enforced`: the limit at which the kernel ended it, known once it is closed */
  readonly limitReached?: "memory" | null;
  /** zone-init: signals every process inside but init */
  signalAll(signal: number): void;
  /** SIGKILL to the whole namespace; resolves when no process of it is left. Safe to call twice. */
  kill(): Promise<void>;
  /** settles when the sandbox is gone, for whatever reason */
  readonly closed: Promise<void>;
}

/** After the control socket, which the inits expect as descriptor 3. */
const SECCOMP_DESCRIPTOR = 4;
/** Where host-uid mounts its clones, in its own mount namespace; every Linux has the directory. */
const STAGE = "/mnt";
/** Dedicated uids lie above what distributions and container engines hand out. */
const DEDICATED_UIDS = { first: 0x7000_0000, count: 0x0100_0000 };
const START_TIMEOUT_MS = 20_000;
const STDERR_KEPT_BYTES = 4096;

/**
 * Starts a sandbox; resolves when its init answers and every listener has arrived, with tool-init once the tool has started.
 * As root, its processes are a dedicated uid of the host. Throws `PlatformError`: `sandbox_unavailable` (something is missing),
 * `sandbox_start_failed` (it was refused).
 */
export async function openSandbox(
  plan: SandboxPlan,
  stdio: SandboxStdio,
  signal: AbortSignal,
): Promise<Sandbox> {
  signal.throwIfAborted();
  return plan.init === "tool-init"
    ? await openToolSandbox(plan, stdio, signal)
    : await openZone(plan, stdio, signal);
}

/** Zone A, once a run: bubblewrap makes the namespaces. */
async function openZone(
  plan: SandboxPlan,
  stdio: SandboxStdio,
  signal: AbortSignal,
): Promise<Sandbox> {
  const launch = launchOf(plan);
  const [ours, theirs] = native().socketPair();
  const opened = [theirs, native().sealedFile("seccomp", compileSeccomp(plan.seccomp))];
  let child: ChildProcess;
  try {
    for (const input of launch.inputs) opened.push(native().sealedFile("file", input));
    child = spawn(launch.program, launch.arguments, {
      env: { PATH: "/usr/bin:/bin" },
      cwd: "/",
      stdio: [
        stdio.stdin,
        stdio.stdout,
        stdio.stderr === "ignore" ? "pipe" : stdio.stderr,
        ...opened,
      ],
    });
  } catch (error) {
    closeSync(ours);
    throw error;
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
  const sandbox = new RunningZone(child, ours, plan);
  try {
    await sandbox.ready(signal);
  } catch (error) {
    await sandbox.kill();
    for (const descriptor of sandbox.listeners.values()) closeSync(descriptor);
    throw error;
  }
  if (stdio.stderr === "ignore") child.stderr?.resume();
  return sandbox;
}

/** The absolute path of bubblewrap. Throws `sandbox_unavailable` with the way to install it. */
export function findBubblewrap(path: string): string {
  for (const directory of path.split(delimiter)) {
    const candidate = join(directory, "bwrap");
    if (directory.startsWith("/") && existsSync(candidate)) return candidate;
  }
  throw new PlatformError(
    "sandbox_unavailable",
    `Cannot find bubblewrap ("bwrap") on PATH "${path}"`,
    {
      fix: "install bubblewrap 0.8 or newer (Debian: apt-get install bubblewrap; Fedora: dnf install bubblewrap)",
    },
  );
}

function launchOf(plan: SandboxPlan): SandboxLine & { program: string } {
  const init = nativeProgram("zone-init");
  const bubblewrap = findBubblewrap(searchPath);
  const uid = process.getuid?.() ?? -1;
  const gid = process.getgid?.() ?? -1;
  const identity = uid === 0 ? { uid: 1000, gid: 1000 } : { uid, gid };
  const layout = layOut(plan, identity);
  if (uid !== 0) {
    const line = sandboxLine(plan, layout, identity, init, (source) => source, SECCOMP_DESCRIPTOR);
    return { program: bubblewrap, arguments: line.arguments, inputs: line.inputs };
  }
  const sources = new Map<string, { mode: "ro" | "rw"; index: number }>();
  const staging = [...layout.treeBinds, ...plan.binds, { source: init, mode: "ro" as const }];
  for (const { source, mode } of staging) {
    const known = sources.get(source);
    if (known === undefined) sources.set(source, { mode, index: sources.size });
    else if (mode === "rw") known.mode = "rw";
  }
  const line = sandboxLine(
    plan,
    layout,
    identity,
    init,
    (source) => `${STAGE}/${sources.get(source)?.index}`,
    SECCOMP_DESCRIPTOR,
  );
  const dedicated = DEDICATED_UIDS.first + randomInt(DEDICATED_UIDS.count);
  const staged = [...sources].flatMap(([source, { mode }]) => [mode, source]);
  return {
    program: nativeProgram("host-uid"),
    arguments: [String(dedicated), STAGE, ...staged, "--", bubblewrap, ...line.arguments],
    inputs: line.inputs,
  };
}

let searchPath = "/usr/local/bin:/usr/bin:/bin";

/** Where to look for bubblewrap; the entry points set it to the PATH they were started with. */
export function setSandboxSearchPath(path: string): void {
  searchPath = path;
}

class RunningZone implements Sandbox {
  readonly pid: number;
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  readonly listeners = new Map<number, number>();
  readonly toolExit: Promise<ProgramExit>;
  readonly closed: Promise<void>;
  readonly #child: ChildProcess;
  readonly #channel: InitChannel;
  readonly #plan: SandboxPlan;
  readonly #ready = Promise.withResolvers<void>();
  readonly #tool = Promise.withResolvers<ProgramExit>();
  readonly #programs = new StartedPrograms();
  #initPid: number | undefined;
  #gone = false;

  constructor(child: ChildProcess, control: number, plan: SandboxPlan) {
    this.#child = child;
    this.#plan = plan;
    this.pid = child.pid ?? -1;
    this.stdin = child.stdin;
    this.stdout = child.stdout;
    this.stderr = child.stderr;
    this.toolExit = this.#tool.promise;
    const gone = Promise.withResolvers<void>();
    child.once("exit", gone.resolve);
    child.once("error", gone.resolve);
    this.#channel = new InitChannel(control, {
      onListener: (port, descriptor) => this.listeners.set(port, descriptor),
      onReady: () => this.#ready.resolve(),
      onStarted: (id, pid, master) => this.#programs.onStarted(id, pid, master),
      onEnded: (id, exit) => this.#programs.onEnded(id, exit),
      onClosed: () => this.#onLost(),
    });
    // The outer process waits for init, and init's end is the end of every process in its namespace.
    this.closed = gone.promise.then(() => {
      this.#gone = true;
      this.#channel.finish();
    });
    this.#ready.promise.catch(() => {});
  }

  async ready(signal: AbortSignal): Promise<void> {
    let said = "";
    const keep = (chunk: Buffer) => {
      said = (said + chunk.toString("utf8")).slice(-STDERR_KEPT_BYTES);
    };
    this.stderr?.on("data", keep);
    const stop = new AbortController();
    try {
      await Promise.race([
        this.#ready.promise,
        this.closed
          .then(() => timers.setImmediate())
          .then(() => Promise.reject(startFailure(said))),
        timers
          .setTimeout(START_TIMEOUT_MS, undefined, {
            signal: AbortSignal.any([signal, stop.signal]),
          })
          .then(() =>
            Promise.reject(
              new PlatformError(
                "sandbox_start_failed",
                `Sandbox did not start within ${START_TIMEOUT_MS} ms`,
                { retryable: true },
              ),
            ),
          ),
      ]);
    } finally {
      stop.abort();
      this.stderr?.off("data", keep);
      this.stderr?.pause();
    }
    [this.#initPid] = await childrenOf(this.pid);
    // Before anything runs in it: what is mounted now stays mounted.
    const movable = movableBinds(this.#plan.binds);
    if (movable.length > 0) checkMountedBinds(this.#initPid ?? this.pid, movable);
  }

  async start(request: ProgramRequest): Promise<StartedProgram> {
    if (this.#gone)
      throw new PlatformError("spawn_failed", "Cannot start a program: the sandbox is gone");
    return await this.#programs.start(this.#channel, request);
  }

  signalAll(signal: number): void {
    this.#channel.signalAll(signal);
  }

  async kill(): Promise<void> {
    if (!this.#gone) {
      const [init] = this.#initPid === undefined ? [undefined] : await childrenOf(this.pid);
      // Killing init first: the outer process returns only when the kernel has emptied the namespace.
      if (init === undefined || !killNow(init)) this.#child.kill("SIGKILL");
    }
    await this.closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #onLost(): void {
    this.#tool.resolve({ kind: "lost" });
    this.#programs.onLost();
  }
}

function startFailure(said: string): PlatformError {
  const last = said.trim().split("\n").slice(-3).join("; ");
  const denied = /namespace|Operation not permitted|Permission denied/.test(last);
  return new PlatformError(
    "sandbox_start_failed",
    `Sandbox did not start: ${last === "" ? "its launcher ended without a word" : last}`,
    {
      fix: denied
        ? "allow unprivileged user namespaces (agentkube doctor shows the kernel's own answers)"
        : "run agentkube doctor to see what this machine lacks",
    },
  );
}
