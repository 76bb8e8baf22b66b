import vm from "node:vm";

const guarded: { work: () => unknown } = { work: () => undefined };
const guardedContext = vm.createContext(guarded);

/** How often more time is given, each time twice as much, while the machine or the container's share of it has no CPU for us. */
const MORE_TIMES = 3;

/**
 * Runs synchronous `work`, which may be run more than once, and throws when it takes more than `cpuMs` of this thread's CPU: even
 * a backtracking regular expression is interrupted, which only the timeout of a vm can do. That one goes by the clock; work that
 * was interrupted because others had the CPU gets more time.
 */
export function runBounded<T>(work: () => T, cpuMs: number): T {
  guarded.work = work;
  const before = process.threadCpuUsage();
  for (let more = 0; ; more++) {
    try {
      return vm.runInContext("work()", guardedContext, { timeout: cpuMs * 2 ** more }) as T;
    } catch (error) {
      // Made in the vm's own realm: no instance of our Error.
      const { code } = error as { code?: unknown };
      if (code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
      const { user, system } = process.threadCpuUsage(before);
      if (more === MORE_TIMES || (user + system) / 1000 >= cpuMs)
        throw new Error(`took longer than ${cpuMs} ms`, { cause: error });
    }
  }
}
