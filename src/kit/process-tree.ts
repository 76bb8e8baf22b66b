import { readFileSync } from "node:fs";
import { readFile, readdir, stat } from "node:fs/promises";
import { statFields } from "./process-alive.ts";

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
    const [line, threads] = await Promise.all([readText(`/proc/${pid}/stat`), threadsOf(pid)]);
    if (line === null) continue;
    const [own, children] = await Promise.all([
      holdingsOf(pid, threads, line),
      childrenOf(pid, threads),
    ]);
    const fields = fieldsOf(line);
    usage.pids.push(pid);
    const ownMs = ((fields[11] ?? 0) + (fields[12] ?? 0)) * MS_PER_TICK;
    const waitedMs = ((fields[13] ?? 0) + (fields[14] ?? 0)) * MS_PER_TICK;
    usage.cpuMs += ownMs + waitedMs;
    usage.waitedCpuMs += waitedMs;
    usage.cpuMsOf.set(pid, ownMs + waitedMs);
    usage.memoryBytes += own.memoryBytes;
    usage.openFiles += own.openFiles;
    open.push(...children);
  }
  return usage;
}

/** As numbers, which all but the first are. */
function fieldsOf(line: string): number[] {
  return statFields(line).map(Number);
}

type Holdings = Pick<TreeUsage, "memoryBytes" | "openFiles">;

/**
 * Memory and descriptors of a process whose line of /proc is `line`. One whose first thread has ended lives on in the others, and has
 * all it had: under its own number the kernel then shows nothing.
 */
async function holdingsOf(pid: number, threads: string[], line: string): Promise<Holdings> {
  if (residentPages(line) > 0 || threads.length < 2) return await holdingsAt(`/proc/${pid}`, line);
  for (const thread of threads) {
    const place = `/proc/${pid}/task/${thread}`;
    const shown = await readText(`${place}/stat`);
    if (shown !== null && residentPages(shown) > 0) return await holdingsAt(place, shown);
  }
  return { memoryBytes: 0, openFiles: 0 };
}

async function holdingsAt(place: string, line: string): Promise<Holdings> {
  const isWide = (fieldsOf(line)[20] ?? 0) > WIDE_BYTES;
  const [openFiles, tables] = await Promise.all([
    openFilesOf(place),
    isWide ? pageTablesOf(place) : 0,
  ]);
  return { memoryBytes: residentPages(line) * PAGE_BYTES + tables, openFiles };
}

function residentPages(line: string): number {
  return fieldsOf(line)[21] ?? 0;
}

async function openFilesOf(place: string): Promise<number> {
  return await stat(`${place}/fd`).then(
    ({ size }) => size,
    () => 0,
  );
}

/** TCP sockets of a process's network namespace, also those that nobody has accepted yet and those that only send the rest. */
export async function tcpSocketsAround(pid: number): Promise<number> {
  const counts = await readText(`/proc/${pid}/net/sockstat`);
  return Number(/^TCP: inuse (\d+)/m.exec(counts ?? "")?.[1] ?? 0);
}

/** What the kernel keeps to know what is mapped: also of pages that were only read, which are in no resident size. */
async function pageTablesOf(place: string): Promise<number> {
  const status = await readText(`${place}/status`);
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
export async function childrenOf(pid: number, known?: string[]): Promise<number[]> {
  const threads = known ?? (await threadsOf(pid));
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

async function threadsOf(pid: number): Promise<string[]> {
  return await readdir(`/proc/${pid}/task`).catch(() => []);
}

async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, "latin1");
  } catch {
    return null;
  }
}
