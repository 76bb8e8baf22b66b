import type { Readable, Writable } from "node:stream";
import { openBubblewrapZone } from "./bubblewrap-zone.ts";
import type { ProgramExit } from "./init-channel.ts";
import type { SandboxPlan } from "./sandbox-arguments.ts";
import { openToolSandbox } from "./sandbox-pool.ts";
import type { ProgramRequest, StartedProgram } from "./started-programs.ts";

export type { ProgramExit } from "./init-channel.ts";
export type { SandboxPlan } from "./sandbox-arguments.ts";

export interface SandboxStdio {
  stdin: "ignore" | "pipe";
  stdout: "ignore" | "pipe";
  stderr: "ignore" | "pipe";
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
  /** zone-init: where its root directory is reached from here, while it lives */
  readonly rootPath?: string;
  /** zone-init: starts a program as session leader on a new PTY inside. Rejects with `PlatformError` `spawn_failed`. */
  start(request: ProgramRequest): Promise<StartedProgram>;
  /** tool-init: how the tool ended; never rejects */
  readonly toolExit: Promise<ProgramExit>;
  /** tool-init with `enforced`: the limit at which the kernel ended it, known once it is closed */
  readonly limitReached?: "memory" | null;
  /** tool-init with `keepsDirectory`: a descriptor of the directory, once; the caller closes it */
  takeDirectory?(): number | null;
  /** zone-init: signals every process inside but init */
  signalAll(signal: number): void;
  /** SIGKILL to the whole namespace; resolves when no process of it is left. Safe to call twice. */
  kill(): Promise<void>;
  /** settles when the sandbox is gone, for whatever reason */
  readonly closed: Promise<void>;
}

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
    : await openBubblewrapZone(plan, stdio, signal);
}
