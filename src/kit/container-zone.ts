import { type ChildProcess, spawn } from "node:child_process";
import { closeSync } from "node:fs";
import timers from "node:timers/promises";
import { InitChannel } from "./init-channel.ts";
import { native, nativeProgram } from "./native.ts";
import { PlatformError } from "./platform-error.ts";
import { killNow } from "./process-alive.ts";
import { childrenOf } from "./process-tree.ts";
import type { Sandbox, StartedProgram } from "./sandbox.ts";
import { type ProgramRequest, StartedPrograms } from "./started-programs.ts";

/** What zone A is made of where the container is the zone. */
export interface ContainerZonePlan {
  /** directories that nothing in the zone may open, such as that of the agentlet's token */
  hidden: readonly string[];
  /** port on the container's loopback for the gateway */
  listen: number;
  processes: number;
}

/** A zone in a container, and whether the kernel keeps its programs from us: from our token, our sockets, our processes. */
export interface ContainerZone {
  readonly zone: Sandbox;
  /** null, or why the events and the record of this run are self-reported */
  readonly weakness: string | null;
}

const START_MS = 10_000;
const KILL_ROUND_MS = 20;
const SIGKILL = 9;
/** pod-zone ends with it when the kernel cannot fence the zone. */
const CANNOT_FENCE = 78;

/**
 * Starts zone-init beside us in this container, behind a Landlock fence: it and all it starts may signal only each other, connect only to
 * abstract sockets of their own, and not open what is hidden. Without Landlock of Linux 6.12 it starts unfenced, and says so.
 */
export async function openContainerZone(
  plan: ContainerZonePlan,
  signal: AbortSignal,
): Promise<ContainerZone> {
  try {
    return { zone: await start(plan, true, signal), weakness: null };
  } catch (error) {
    if (!(error instanceof PlatformError) || error.code !== "zone_unfenced") throw error;
    const weakness =
      "The kernel of this node has no Landlock signal scope (Linux 6.12): the agent could read and end the agentlet's process, so events and record are self-reported";
    return { zone: await start(plan, false, signal), weakness };
  }
}

async function start(
  plan: ContainerZonePlan,
  isFenced: boolean,
  signal: AbortSignal,
): Promise<Sandbox> {
  signal.throwIfAborted();
  const [ours, theirs] = native().socketPair();
  const init = [nativeProgram("zone-init"), "--listen", String(plan.listen)];
  init.push("--processes", String(plan.processes));
  if (isFenced) init.push("--signals", "scoped");
  const fence = plan.hidden.flatMap((path) => ["--hide", path]);
  const [program = "", ...words] = isFenced
    ? [nativeProgram("pod-zone"), ...fence, "--", ...init]
    : init;
  let child: ChildProcess;
  try {
    child = spawn(program, words, {
      env: {},
      cwd: "/",
      stdio: ["ignore", "ignore", "pipe", theirs],
    });
  } catch (error) {
    closeSync(ours);
    throw error;
  } finally {
    closeSync(theirs);
  }
  const zone = new FencedZone(child, ours);
  try {
    await zone.ready(signal);
    return zone;
  } catch (error) {
    await zone.kill();
    for (const descriptor of zone.listeners.values()) closeSync(descriptor);
    throw error;
  }
}

class FencedZone implements Sandbox {
  readonly pid: number;
  readonly stdin = null;
  readonly stdout = null;
  readonly stderr = null;
  readonly listeners = new Map<number, number>();
  readonly toolExit = Promise.resolve({ kind: "lost" } as const);
  readonly closed: Promise<void>;
  readonly #child: ChildProcess;
  readonly #channel: InitChannel;
  readonly #programs = new StartedPrograms();
  readonly #ready = Promise.withResolvers<void>();
  #exitCode: number | null = null;
  #gone = false;

  constructor(child: ChildProcess, control: number) {
    this.#child = child;
    this.pid = child.pid ?? -1;
    const gone = Promise.withResolvers<void>();
    child.once("exit", (code) => {
      this.#exitCode = code;
      gone.resolve();
    });
    child.once("error", () => gone.resolve());
    this.#channel = new InitChannel(control, {
      onListener: (port, descriptor) => this.listeners.set(port, descriptor),
      onReady: () => this.#ready.resolve(),
      onStarted: (id, pid, master) => this.#programs.onStarted(id, pid, master),
      onEnded: (id, exit) => this.#programs.onEnded(id, exit),
      onClosed: () => this.#programs.onLost(),
    });
    this.closed = gone.promise.then(() => {
      this.#gone = true;
      this.#channel.finish();
    });
  }

  async ready(signal: AbortSignal): Promise<void> {
    let said = "";
    this.#child.stderr?.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString("utf8")).slice(-1024);
    });
    const late = AbortSignal.any([signal, AbortSignal.timeout(START_MS)]);
    const failed = this.closed.then(async () => {
      await timers.setImmediate();
      if (this.#exitCode === CANNOT_FENCE)
        throw new PlatformError("zone_unfenced", "The kernel cannot fence zone A");
      throw new PlatformError("sandbox_start_failed", `Zone A did not start: ${said.trim()}`);
    });
    const given = Promise.withResolvers<never>();
    late.addEventListener("abort", () => given.reject(late.reason), { once: true });
    await Promise.race([this.#ready.promise, failed, given.promise]);
  }

  async start(request: ProgramRequest): Promise<StartedProgram> {
    if (this.#gone) throw new PlatformError("spawn_failed", "Cannot start: the zone is gone");
    return await this.#programs.start(this.#channel, request);
  }

  signalAll(signal: number): void {
    if (!this.#gone) this.#channel.signalAll(signal);
  }

  /** There is no namespace to take away: everything that zone-init has inherited is killed, until nothing is left. */
  async kill(): Promise<void> {
    while (!this.#gone) {
      this.signalAll(SIGKILL);
      const children = await childrenOf(this.pid);
      if (children.length === 0) break;
      for (const pid of children) killNow(pid);
      await timers.setTimeout(KILL_ROUND_MS);
    }
    if (!this.#gone) this.#child.kill("SIGKILL");
    await this.closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
