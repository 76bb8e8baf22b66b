import { processTree, tcpSocketsAround, type TreeUsage } from "../kit/process-tree.ts";
import { CallStopped } from "./call-end.ts";
import type { ToolSandbox } from "./tools.ts";

const LOOK_EVERY_MS = 20;
/** Each may hold some 0.2 MiB of the kernel's memory in buffers, which is in no process's size. A TCP socket counts without descriptor too. */
const OPEN_FILES_OF_CALL = 4096;

/** Stops a call when its memory or CPU time is used up. Dispose it with the call. */
export function watchLimits(
  pid: number,
  limits: ToolSandbox,
  stop: (reason: CallStopped) => void,
): Disposable {
  let looking = false;
  const time = new CpuLedger();
  const look = async (): Promise<void> => {
    if (looking) return;
    looking = true;
    try {
      const [usage, sockets] = await Promise.all([processTree(pid), tcpSocketsAround(pid)]);
      if (usage.memoryBytes > limits.memoryBytes) stop(memoryEnd(limits.memoryBytes));
      else if (usage.openFiles + sockets > OPEN_FILES_OF_CALL) stop(tooManyOpenFiles());
      else if (time.take(usage) > limits.cpuMs)
        stop(overLimit("cpu", `${limits.cpuMs} ms of CPU time`));
    } finally {
      looking = false;
    }
  };
  const timer = setInterval(() => void look().catch(() => {}), LOOK_EVERY_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Of a process that ends between two looks we saw half on average. */
const UNSEEN_FACTOR = 2;

/**
 * CPU time of a whole call. The time of a child is with its parent once that waited for it; a tool that ignores SIGCHLD has children
 * whose time is with nobody, so what was seen of those that vanished is kept until it turns up as waited for.
 */
class CpuLedger {
  #last: Pick<TreeUsage, "cpuMsOf" | "waitedCpuMs"> = { cpuMsOf: new Map(), waitedCpuMs: 0 };
  #vanishedMs = 0;

  /** Takes what was seen now; milliseconds of CPU time since the start. */
  take(usage: TreeUsage): number {
    // A parent that vanished took its children's times with it, to whoever waited for it or to nobody.
    for (const [pid, ms] of this.#last.cpuMsOf) if (!usage.cpuMsOf.has(pid)) this.#vanishedMs += ms;
    const waitedMs = usage.waitedCpuMs - this.#last.waitedCpuMs;
    this.#vanishedMs = Math.max(0, this.#vanishedMs - Math.max(0, waitedMs));
    this.#last = usage;
    return usage.cpuMs + this.#vanishedMs * UNSEEN_FACTOR;
  }
}

/** Stops a call at its wall-clock limit. Dispose it with the call. */
export function watchClock(timeoutMs: number, stop: (reason: CallStopped) => void): Disposable {
  const timer = setTimeout(() => {
    stop(
      new CallStopped(
        "timed_out",
        `The tool did not end within ${timeoutMs} ms`,
        "raise spec.sandbox.timeout of the tool, or ask it for less",
      ),
    );
  }, timeoutMs);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

/** The end of a call that used up its memory, whoever noticed. */
export function memoryEnd(memoryBytes: number): CallStopped {
  return overLimit("memory", `${memoryBytes} bytes of memory`);
}

function tooManyOpenFiles(): CallStopped {
  return new CallStopped(
    "killed_by_limit",
    `The tool had more than ${OPEN_FILES_OF_CALL} files, pipes and sockets open, all its processes together, and was killed`,
    "close what is not used, or do less at once",
  );
}

function overLimit(field: string, what: string): CallStopped {
  return new CallStopped(
    "killed_by_limit",
    `The tool used more than ${what} and was killed`,
    `raise spec.sandbox.limits.${field} of the tool, or ask it for less`,
  );
}
