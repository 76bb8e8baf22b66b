import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import timers from "node:timers/promises";
import { PlatformError, errnoOf } from "./platform-error.ts";
import { isGone } from "./process-alive.ts";

/** Limits that the kernel holds a whole sandbox to, however many processes it has. */
export interface GroupLimits {
  memoryBytes: number;
  processes: number;
}

/** The control group of one sandbox. Close it when no process of it is left. */
export interface ControlGroup {
  /** opened `cgroup.procs` of each hierarchy, for a process to be put in */
  readonly descriptors: readonly number[];
  /** whether the kernel ended a process of it because its memory was used up */
  wasOutOfMemory(): boolean;
  /** Closes the descriptors and removes the directories. Safe to call twice. */
  close(): Promise<void>;
}

/** Where groups can be made: one directory for both controllers with cgroup v2, one for each with v1. */
export interface Hierarchy {
  version: 1 | 2;
  memory: string;
  pids: string;
}

const MOUNT = "/sys/fs/cgroup";
const NAME = /^agentkube-(\d+)-\d+$/;
const FIX =
  "run agentkube where it may make control groups: systemd-run --user --scope -p Delegate=yes (cgroup v2), or as root with the memory and pids controllers mounted (v1)";
const REMOVE_TRIES = 100;
const REMOVE_EVERY_MS = 5;

let lastNumber = 0;
let known: Hierarchy | undefined;

/**
 * Makes a group with its limits. Throws `PlatformError` `tier_unavailable`, with the step and the kernel's answer, where that cannot be
 * done: nothing is ever run with less. `hierarchy`: another one than this process's.
 */
export function openControlGroup(limits: GroupLimits, hierarchy?: Hierarchy): ControlGroup {
  const { version, memory, pids } = hierarchy ?? (known ??= findHierarchy());
  lastNumber += 1;
  const name = `agentkube-${process.pid}-${lastNumber}`;
  const directories = [...new Set([memory, pids])].map((parent) => join(parent, name));
  const [memoryDir, pidsDir] = [join(memory, name), join(pids, name)];
  const descriptors: number[] = [];
  let isClosed = false;
  const close = async (): Promise<void> => {
    if (isClosed) return;
    isClosed = true;
    descriptors.forEach(closeSync);
    for (const directory of directories) await removeGroup(directory);
  };
  try {
    for (const directory of directories) doing("mkdir", directory, () => mkdirSync(directory));
    const set = (directory: string, file: string, value: string): void =>
      doing("write", join(directory, file), () => writeFileSync(join(directory, file), value));
    // tool-init is one of them.
    set(pidsDir, "pids.max", String(limits.processes + 1));
    if (version === 2) {
      set(memoryDir, "memory.max", String(limits.memoryBytes));
      set(memoryDir, "memory.oom.group", "1");
      setIfThere(memoryDir, "memory.swap.max", "0");
    } else {
      set(memoryDir, "memory.limit_in_bytes", String(limits.memoryBytes));
      setIfThere(memoryDir, "memory.memsw.limit_in_bytes", String(limits.memoryBytes));
    }
    for (const directory of directories) {
      const file = join(directory, "cgroup.procs");
      descriptors.push(doing("open", file, () => openSync(file, constants.O_WRONLY)));
    }
  } catch (error) {
    void close().catch(() => {});
    throw error;
  }
  return {
    descriptors,
    close,
    wasOutOfMemory: () => countOf(memoryDir, version) > 0,
  };
}

/** Removes the groups of processes of ours that are gone: what a crash left behind. Returns how many. */
export async function removeOldGroups(): Promise<number> {
  let hierarchy: Hierarchy;
  try {
    hierarchy = findHierarchy();
  } catch {
    return 0;
  }
  let removed = 0;
  for (const parent of new Set([hierarchy.memory, hierarchy.pids]))
    for (const name of namesIn(parent)) {
      const pid = Number(NAME.exec(name)?.[1] ?? Number.NaN);
      if (Number.isNaN(pid) || !isGone(pid, null)) continue;
      if (await removeGroup(join(parent, name))) removed += 1;
    }
  return removed;
}

/** In a container the path of our own group may be one that only its host has: then there is nothing of ours in it. */
function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (["ENOENT", "EACCES", "EPERM"].includes(errnoOf(error) ?? "")) return [];
    throw error;
  }
}

/** This process's own groups are where others can be made, if anywhere. */
export function findHierarchy(mount = MOUNT, own = "/proc/self/cgroup"): Hierarchy {
  const text = doing("read", own, () => readFileSync(own, "utf8"));
  const lines = text.split("\n").map((line) => line.split(":"));
  const pathOf = (controller: string): string | undefined =>
    lines.find(([, names]) => names?.split(",").includes(controller))?.[2];
  const [memory, pids] = [pathOf("memory"), pathOf("pids")];
  if (memory !== undefined && pids !== undefined)
    return { version: 1, memory: join(mount, "memory", memory), pids: join(mount, "pids", pids) };
  const group = lines.find(([number, names]) => number === "0" && names === "")?.[2];
  if (group === undefined) throw unavailable(own, "this process is in no group");
  return { version: 2, ...sharedParent(mount, join(mount, group)) };
}

/** With v2 a group that holds processes hands no controllers on, so ours lie beside this process's own. */
function sharedParent(mount: string, own: string): { memory: string; pids: string } {
  for (const parent of own === mount ? [own] : [own, join(own, "..")]) {
    const enabled = readIfThere(join(parent, "cgroup.subtree_control")).split(/\s+/);
    if (enabled.includes("memory") && enabled.includes("pids"))
      return { memory: parent, pids: parent };
  }
  throw unavailable(own, "it does not hand on the controllers memory and pids");
}

/** The kernel needs a moment to let go of a group whose last process was reaped. */
async function removeGroup(directory: string): Promise<boolean> {
  for (let left = REMOVE_TRIES; left > 0; left -= 1) {
    try {
      rmdirSync(directory);
      return true;
    } catch (error) {
      if (errnoOf(error) !== "EBUSY") return false;
      await timers.setTimeout(REMOVE_EVERY_MS);
    }
  }
  return false;
}

function countOf(directory: string, version: 1 | 2): number {
  const text = readIfThere(join(directory, version === 2 ? "memory.events" : "memory.oom_control"));
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

/** Kernels without swap accounting do not have it, and then there is nothing to limit. */
function setIfThere(directory: string, file: string, value: string): void {
  try {
    writeFileSync(join(directory, file), value, { flag: "r+" });
  } catch (error) {
    if (errnoOf(error) !== "ENOENT")
      throw unavailable(join(directory, file), `write: ${errnoOf(error)}`);
  }
}

function doing<T>(step: string, path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw unavailable(path, `${step}: ${errnoOf(error) ?? "unknown error"}`);
  }
}

function unavailable(path: string, why: string): PlatformError {
  return new PlatformError(
    "tier_unavailable",
    `Tier "strict" is not available: no control group with limits can be made at "${path}" (${why})`,
    { path, fix: FIX },
  );
}
