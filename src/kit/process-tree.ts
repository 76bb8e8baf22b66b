import { readFileSync } from "node:fs";
import { readFile, readdir, stat } from "node:fs/promises";

/** What a process and all its descendants use now. Processes that end while we look are left out. */
export interface TreeUsage {
  pids: number[];
  /** resident, with the page tables of what is mapped widely */
  memoryBytes: number;
  /** descriptors of all of them together; 0 before Linux 6.2, which does not say */
  openFiles: number;
  /** of the processes that live, and of those of their children that were waited for */
  cpuMs: number;
  /** the part of `cpuMs` that is of children that were waited for */
  waitedCpuMs: number;
  /** each living process's part of `cpuMs`, by pid */
  cpuMsOf: Map<number, number>;
}

const PAGE_BYTES = 4096;
/** Page tables are 1/512 of what is mapped at most: below this they are not worth a look. */
const WIDE_BYTES = 4 * 1024 ** 3;
const MS_PER_TICK = 10;

/**
 * Sums resident memory and CPU time over `root` and its descendants, from /proc. A child of a dead parent belongs to the
 * init of its pid namespace, so a sandbox's tree is whole. Costs about 0.1 ms a process.
 * Shared pages count once for each process that maps them: an upper bound.
 */
export async function processTree(root: number): Promise<TreeUsage> {
  const usage: TreeUsage = {
    pids: [],
    memoryBytes: 0,
    openFiles: 0,
    cpuMs: 0,
    waitedCpuMs: 0,
    cpuMsOf: new Map(),
  };
  const open = [root];
  for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
    const [line, children, openFiles] = await Promise.all([
      readText(`/proc/${pid}/stat`),
      childrenOf(pid),
      openFilesOf(pid),
    ]);
    if (line === null) continue;
    // The name may hold spaces and parentheses; the fields after the last one are numbers. See proc_pid_stat(5).
    const fields = line
      .slice(line.lastIndexOf(")") + 2)
      .split(" ")
      .map(Number);
    usage.pids.push(pid);
    const ownMs = ((fields[11] ?? 0) + (fields[12] ?? 0)) * MS_PER_TICK;
    const waitedMs = ((fields[13] ?? 0) + (fields[14] ?? 0)) * MS_PER_TICK;
    usage.cpuMs += ownMs + waitedMs;
    usage.waitedCpuMs += waitedMs;
    usage.cpuMsOf.set(pid, ownMs + waitedMs);
    usage.memoryBytes += (fields[21] ?? 0) * PAGE_BYTES;
    if ((fields[20] ?? 0) > WIDE_BYTES) usage.memoryBytes += await pageTablesOf(pid);
    usage.openFiles += openFiles;
    open.push(...children);
  }
  return usage;
}

async function openFilesOf(pid: number): Promise<number> {
  return await stat(`/proc/${pid}/fd`).then(
    ({ size }) => size,
    () => 0,
  );
}

/** What the kernel keeps to know what is mapped: also of pages that were only read, which are in no resident size. */
async function pageTablesOf(pid: number): Promise<number> {
  const status = await readText(`/proc/${pid}/status`);
  return Number(/^VmPTE:\s+(\d+) kB$/m.exec(status ?? "")?.[1] ?? 0) * 1024;
}

/** Resident memory that a process shares with no file, in bytes; 0 when it is gone or null. */
export function ownMemoryOf(pid: number | null): number {
  if (pid === null) return 0;
  try {
    const [, resident = 0, shared = 0] = readFileSync(`/proc/${pid}/statm`, "latin1")
      .split(" ")
      .map(Number);
    return (resident - shared) * PAGE_BYTES;
  } catch {
    return 0;
  }
}

/** The children of every thread: a Go program forks from any of them. Empty when the process is gone. */
export async function childrenOf(pid: number): Promise<number[]> {
  let threads: string[];
  try {
    threads = await readdir(`/proc/${pid}/task`);
  } catch {
    return [];
  }
  const lists = await Promise.all(
    threads.map((thread) => readText(`/proc/${pid}/task/${thread}/children`)),
  );
  return lists.flatMap((list) =>
    (list ?? "")
      .split(" ")
      .filter((word) => word !== "")
      .map(Number),
  );
}

async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, "latin1");
  } catch {
    return null;
  }
}
