// What a container uses, by the kernel's own account: its control group, found by a process in it.
import { readFileSync } from "node:fs";
import timers from "node:timers/promises";

const MOUNT = "/sys/fs/cgroup";
const LOOK_MS = 100;
/** Processor time is told as the most of any one second of this many looks. */
const LOOKS_A_SECOND = 1000 / LOOK_MS;

/** Files of one container's group, in whichever version of control groups holds its memory. */
interface Group {
  memory: string;
  stat: string;
  /** name of the pages in `stat` that nobody used lately */
  inactive: string;
  /** cumulative processor time in seconds */
  cpuSeconds: () => number;
}

/** What a container used while it was watched. */
export interface ContainerUsage {
  /** the most that its working set was: all memory but the file pages that nobody used lately, as kubelet counts it for evictions */
  peakMemoryMiB: number;
  lastMemoryMiB: number;
  cpuSeconds: number;
  /** of the busiest second */
  peakMillicores: number;
  seconds: number;
}

/** Watches containers, each by the pid of a process in it, until `work` is over. A container that is gone keeps what was seen. */
export async function watchContainers<K extends string>(
  pids: Readonly<Record<K, number>>,
  work: () => Promise<void>,
): Promise<Record<K, ContainerUsage>> {
  const watches = Object.entries<number>(pids).map(([name, pid]) => ({
    name,
    watch: new Watch(groupOf(pid)),
  }));
  const over = new AbortController();
  const watching = (async () => {
    while (!over.signal.aborted) {
      for (const { watch } of watches) watch.look();
      await timers.setTimeout(LOOK_MS, undefined, { signal: over.signal }).catch(() => undefined);
    }
  })();
  try {
    await work();
  } finally {
    over.abort();
    await watching;
  }
  return Object.fromEntries(watches.map(({ name, watch }) => [name, watch.usage()])) as Record<
    K,
    ContainerUsage
  >;
}

class Watch {
  readonly #group: Group;
  readonly #looks: { at: number; memory: number; cpu: number }[] = [];

  constructor(group: Group) {
    this.#group = group;
  }

  look(): void {
    try {
      const { memory, stat, inactive, cpuSeconds } = this.#group;
      const idle = new RegExp(`^${inactive} (\\d+)$`, "m").exec(readFileSync(stat, "utf8"))?.[1];
      this.#looks.push({
        at: performance.now(),
        memory: Math.max(0, Number(readFileSync(memory, "utf8")) - Number(idle)),
        cpu: cpuSeconds(),
      });
    } catch {
      // The container has ended, and its group with it.
    }
  }

  usage(): ContainerUsage {
    const [first, last] = [this.#looks[0], this.#looks.at(-1)];
    if (first === undefined || last === undefined)
      throw new Error("Expected a container that runs, found none");
    const rates = this.#looks.slice(LOOKS_A_SECOND).map((look, index) => {
      const before = this.#looks[index] ?? first;
      return (look.cpu - before.cpu) / ((look.at - before.at) / 1000);
    });
    return {
      peakMemoryMiB: Math.max(...this.#looks.map(({ memory }) => memory)) / 1024 ** 2,
      lastMemoryMiB: last.memory / 1024 ** 2,
      cpuSeconds: last.cpu - first.cpu,
      peakMillicores: 1000 * Math.max(0, ...rates),
      seconds: (last.at - first.at) / 1000,
    };
  }
}

function groupOf(pid: number): Group {
  const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().split("\n");
  const pathOf = (controller: string): string | undefined => {
    const of = (line: string): string[] => (line.split(":")[1] ?? "").split(",");
    return lines
      .find((line) => of(line).includes(controller))
      ?.split(":")
      .slice(2)
      .join(":");
  };
  const memory = pathOf("memory");
  if (memory === undefined) {
    const dir = `${MOUNT}${pathOf("") ?? ""}`;
    return {
      memory: `${dir}/memory.current`,
      stat: `${dir}/memory.stat`,
      inactive: "inactive_file",
      cpuSeconds: () =>
        Number(/^usage_usec (\d+)$/m.exec(readFileSync(`${dir}/cpu.stat`, "utf8"))?.[1]) / 1e6,
    };
  }
  const dir = `${MOUNT}/memory${memory}`;
  const cpu = `${MOUNT}/cpuacct${pathOf("cpuacct") ?? ""}/cpuacct.usage`;
  return {
    memory: `${dir}/memory.usage_in_bytes`,
    stat: `${dir}/memory.stat`,
    inactive: "total_inactive_file",
    cpuSeconds: () => Number(readFileSync(cpu, "utf8")) / 1e9,
  };
}
