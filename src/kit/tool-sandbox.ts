import { closeSync, existsSync } from "node:fs";
import { Socket } from "node:net";
import timers from "node:timers/promises";
import { type ControlGroup, openControlGroup } from "./control-groups.ts";
import { InitChannel, type ProgramExit, type SetUpFailure } from "./init-channel.ts";
import { movableBinds } from "./mounted-binds.ts";
import { native } from "./native.ts";
import { PlatformError } from "./platform-error.ts";
import type { InsideIdentity, SandboxPlan } from "./sandbox-arguments.ts";
import { templateKey, templateText } from "./sandbox-template.ts";
import type { Sandbox, SandboxStdio } from "./sandbox.ts";
import { type SpawnBind, ToolSpawner } from "./tool-spawner.ts";

/** Numbers of setrlimit(2), the same on x64 and arm64. */
const RLIMIT = {
  cpu: 0,
  fileBytes: 1,
  data: 2,
  core: 4,
  processes: 6,
  openFiles: 7,
  lockedMemory: 8,
  messageQueues: 12,
} as const;
const LOCKED_MEMORY_BYTES = 64 * 1024;
const DEV_SHM_BYTES = 64 * 1024 * 1024;
const BYTES_PER_INODE = 4096;
const INODES = { least: 1024, most: 65536 };
const START_TIMEOUT_MS = 20_000;
const GONE_WITHIN_MS = 2000;
const LOOK_EVERY_MS = 5;
const REQUEST = 1;

let spawner: ToolSpawner | undefined;

/**
 * The process that starts sandboxes, started now if it is not there. Call it while this process is small. `program`: another build of
 * it, for a process that starts no other.
 */
export function toolSpawner(program?: string): ToolSpawner {
  if (spawner === undefined || spawner.isClosed) spawner = new ToolSpawner(program);
  return spawner;
}

/** The part of a plan that can be made before its call is known, and the words that two such plans have in common. */
export interface SandboxProfile {
  key: string;
  plan: SandboxPlan;
  identity: InsideIdentity;
  ports: number[];
}

export function profileOf(plan: SandboxPlan): SandboxProfile {
  const [uid, gid] = [process.getuid?.() ?? -1, process.getgid?.() ?? -1];
  const identity = uid === 0 ? { uid: 1000, gid: 1000 } : { uid, gid };
  const ports = portsOf(plan.initArgs);
  return {
    key: `${templateKey(plan, identity)} ${JSON.stringify([plan.tmpfs, ports])}`,
    plan,
    identity,
    ports,
  };
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
  #isGone = false;
  #isHandedOver = false;
  #limitReached: "memory" | null = null;

  /** `binds` null: they come with the call. */
  constructor(profile: SandboxProfile, binds: readonly SpawnBind[] | null) {
    const { plan, identity, ports } = profile;
    this.#spawner = toolSpawner();
    this.toolExit = this.#tool.promise;
    this.closed = this.#closing.promise;
    this.#started.promise.catch(() => {});
    const template = this.#spawner.template(templateKey(plan, identity), () =>
      templateText(plan, identity),
    );
    this.#group = plan.enforced === undefined ? null : openControlGroup(plan.enforced);
    const [ours, theirs] = native().socketPair();
    try {
      this.#id = this.#spawner.start(
        {
          template,
          isComplete: plan.binds.length === 0 && plan.files.every(({ shared }) => shared === true),
          identity,
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
      onStarted: () => this.#started.resolve(),
      onEnded: (_id, exit) => {
        this.#tool.resolve(exit);
        this.#started.resolve();
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
    const pipes = openPipes(stdio);
    this.#spawner.idle(this.#id, false);
    try {
      if (laterBinds !== null && laterBinds.length > 0) this.#spawner.bind(this.#id, laterBinds);
      this.#channel.limit(limitsOf(plan));
      for (const { path, data, mode, shared } of plan.files)
        if (shared !== true) this.#channel.file(path, data, mode);
      const { argv, cwd, env } = plan;
      const rows = plan.binds.length > 0 ? 1 : 0;
      this.#channel.start({ id: REQUEST, argv, cwd, env, cols: pipes.bits, rows }, pipes.theirs);
      [this.stdin, this.stdout, this.stderr] = pipes.streams();
    } finally {
      pipes.closeTheirs();
    }
    const stop = new AbortController();
    const abort = AbortSignal.any([signal, stop.signal]);
    this.#channel.watch();
    const late = timers.setTimeout(START_TIMEOUT_MS, undefined, { signal: abort }).then(() => {
      throw notStarted(`it took longer than ${START_TIMEOUT_MS} ms`);
    });
    late.catch(() => {});
    try {
      await Promise.race([this.#started.promise, late]);
      this.#isHandedOver = true;
    } finally {
      stop.abort();
    }
  }

  start(): never {
    throw new TypeError("A tool's sandbox starts one program, at its beginning");
  }

  signalAll(): never {
    throw new TypeError("A tool's sandbox is killed as a whole");
  }

  async kill(): Promise<void> {
    if (!this.#isGone) {
      this.#spawner.idle(this.#id, false);
      this.#spawner.kill(this.#id);
    }
    await this.closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    for (const stream of [this.stdin, this.stdout, this.stderr]) stream?.destroy();
    if (!this.#isHandedOver) for (const fd of this.listeners.values()) closeSync(fd);
    this.#isHandedOver = true;
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
        : notStarted(`${failure.step} failed with ${failure.errno}`, path, failure.errno),
    );
    this.#tool.resolve({ kind: "lost" });
    // A sandbox that never was has no end of its own to wait for.
    if (this.pid === -1) this.#finish();
  }

  #finish(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#channel.finish();
    this.#started.reject(notStarted("it ended without a word"));
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

/** The binds of a plan as tool-spawner opens them: no link is followed where somebody may put one in the way meanwhile. */
export function spawnBinds(plan: SandboxPlan): SpawnBind[] {
  const movable = new Set(movableBinds(plan.binds));
  return plan.binds.map((bind) => ({
    source: bind.source,
    target: bind.target,
    writable: bind.mode === "rw",
    exact: movable.has(bind),
  }));
}

function portsOf(initArgs: readonly string[]): number[] {
  return initArgs.flatMap((word, index) => {
    if (word === "--listen") return [];
    const port = Number(word);
    if (initArgs[index - 1] === "--listen" && Number.isInteger(port) && port > 0 && port < 65536)
      return [port];
    throw new TypeError(`Expected pairs of --listen and a port, got "${initArgs.join(" ")}"`);
  });
}

function tmpfsOf(
  plan: SandboxPlan,
): { path: string; bytes: number; inodes: number; mode: number }[] {
  return [{ path: "/dev/shm", bytes: DEV_SHM_BYTES }, ...plan.tmpfs].map(({ path, bytes }) => ({
    path,
    bytes,
    inodes: Math.min(INODES.most, Math.max(INODES.least, Math.floor(bytes / BYTES_PER_INODE))),
    mode: path === "/tmp" || path === "/dev/shm" ? 0o1777 : 0o755,
  }));
}

function limitsOf({ processes, limits = {} }: SandboxPlan): [number, number][] {
  const { fileBytes, cpuSeconds, openFiles, dataBytes } = limits;
  const all: [number, number | undefined][] = [
    [RLIMIT.processes, processes],
    [RLIMIT.core, 0],
    [RLIMIT.lockedMemory, LOCKED_MEMORY_BYTES],
    [RLIMIT.messageQueues, 0],
    [RLIMIT.fileBytes, fileBytes],
    [RLIMIT.cpu, cpuSeconds],
    [RLIMIT.openFiles, openFiles],
    [RLIMIT.data, dataBytes],
  ];
  return all.flatMap(([resource, value]) => (value === undefined ? [] : [[resource, value]]));
}

/** Pipes and not sockets: `/dev/stdout` can be opened again, and no descriptor can be sent through them. */
function openPipes(stdio: SandboxStdio) {
  const theirs: number[] = [];
  const ours: (number | null)[] = [];
  let bits = 0;
  for (const [index, kind] of [stdio.stdin, stdio.stdout, stdio.stderr].entries()) {
    if (kind === "ignore") {
      ours.push(null);
      continue;
    }
    const [read, write] = native().pipe();
    bits |= 1 << index;
    theirs.push(index === 0 ? read : write);
    ours.push(index === 0 ? write : read);
  }
  let isTaken = false;
  return {
    bits,
    theirs,
    streams(): [Socket | null, Socket | null, Socket | null] {
      isTaken = true;
      const [stdin, stdout, stderr] = ours.map((fd, index) =>
        fd === null ? null : pipeStream(fd, index === 0),
      );
      return [stdin ?? null, stdout ?? null, stderr ?? null];
    },
    closeTheirs(): void {
      theirs.forEach(closeSync);
      if (!isTaken) for (const fd of ours) if (fd !== null) closeSync(fd);
    },
  };
}

function pipeStream(fd: number, writable: boolean): Socket {
  // Read from only once somebody listens, or an early end would be told to nobody.
  const options = { fd, readable: !writable, writable, manualStart: true };
  return new Socket(options);
}

function notStarted(why: string, path?: string, errno?: string): PlatformError {
  const idMapped = why.startsWith("id-mapped mount");
  const denied = errno === "EPERM" || errno === "ENOSPC" || errno === "EACCES";
  return new PlatformError(
    "sandbox_start_failed",
    `Sandbox did not start: ${why}${path === undefined ? "" : ` at "${path}"`}`,
    {
      ...(path === undefined ? {} : { path }),
      fix: idMapped
        ? "its file system cannot show files under another owner; use a directory on ext4, xfs, btrfs or tmpfs, or start agentkube as an ordinary user"
        : denied
          ? "allow unprivileged user namespaces (agentkube doctor shows the kernel's own answers)"
          : "run agentkube doctor to see what this machine lacks",
    },
  );
}
