import { movableBinds } from "./mounted-binds.ts";
import { type InsideIdentity, insideIdentity, type SandboxPlan } from "./sandbox-arguments.ts";
import { templateKey } from "./sandbox-template.ts";
import type { SpawnBind } from "./tool-spawner.ts";

/** Numbers of setrlimit(2), the same on x64 and arm64. */
const RLIMIT = {
  cpu: 0,
  fileBytes: 1,
  data: 2,
  core: 4,
  processes: 6,
  openFiles: 7,
  lockedMemory: 8,
  pendingSignals: 11,
  messageQueues: 12,
} as const;
const LOCKED_MEMORY_BYTES = 64 * 1024;
/** Timers too; the kernel counts them for the user, inside and outside of sandboxes together. */
const PENDING_SIGNALS = 1024;
const DEV_SHM_BYTES = 64 * 1024 * 1024;
const BYTES_PER_INODE = 4096;
const INODES = { least: 1024, most: 65536 };

/** The part of a plan that can be made before its call is known, and the words that two such plans have in common. */
export interface SandboxProfile {
  key: string;
  plan: SandboxPlan;
  /** of its root */
  template: string;
  identity: InsideIdentity;
  ports: number[];
}

/** The profile of a plan, for this process's user. */
export function profileOf(plan: SandboxPlan): SandboxProfile {
  const identity = insideIdentity();
  const template = templateKey(plan, identity);
  const ports = portsOf(plan.initArgs);
  const key = `${template} ${JSON.stringify([plan.tmpfs, ports])}`;
  return { key, plan, template, identity, ports };
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

/** The private file systems of a sandbox, each held to its bytes and to a number of files. */
export function tmpfsOf(
  plan: SandboxPlan,
): { path: string; bytes: number; inodes: number; mode: number }[] {
  return [{ path: "/dev/shm", bytes: DEV_SHM_BYTES }, ...plan.tmpfs].map(({ path, bytes }) => ({
    path,
    bytes,
    inodes: Math.min(INODES.most, Math.max(INODES.least, Math.floor(bytes / BYTES_PER_INODE))),
    mode: path === "/tmp" || path === "/dev/shm" ? 0o1777 : 0o755,
  }));
}

/** Pairs of a number of setrlimit(2) and its value, for every process of a call. */
export function limitsOf({ processes, limits = {} }: SandboxPlan): [number, number][] {
  const { fileBytes, cpuSeconds, openFiles, dataBytes } = limits;
  const all: [number, number | undefined][] = [
    [RLIMIT.processes, processes],
    [RLIMIT.core, 0],
    [RLIMIT.lockedMemory, LOCKED_MEMORY_BYTES],
    [RLIMIT.messageQueues, 0],
    [RLIMIT.pendingSignals, PENDING_SIGNALS],
    [RLIMIT.fileBytes, fileBytes],
    [RLIMIT.cpu, cpuSeconds],
    [RLIMIT.openFiles, openFiles],
    [RLIMIT.data, dataBytes],
  ];
  return all.flatMap(([resource, value]) => (value === undefined ? [] : [[resource, value]]));
}
