import { processTree } from "../kit/process-tree.ts";
import type { AgentletEvent } from "../protocol/agentlet-link.ts";

export const HEARTBEAT_LIMITS = { checkMs: 1000, checksPerHeartbeat: 5 };

export interface HeartbeatOptions {
  /** host pid whose descendants are zone A */
  pid: number;
  memoryBytes: number;
  outputOffset: () => number;
  onHeartbeat: (event: Extract<AgentletEvent, { type: "heartbeat" }>) => void;
  /** Zone A uses more memory than it may. Called once. */
  onMemoryExceeded: (usedBytes: number) => void;
}

/** Says every 5 s what zone A does, made of evidence, and looks every second at its memory. */
export function startHeartbeat(options: HeartbeatOptions): Disposable {
  let checks = 0;
  let cpuMs = 0;
  let exceeded = false;
  let stopped = false;
  let lastOffset = options.outputOffset();
  let lastOutputAt: number | null = null;
  let timer: NodeJS.Timeout;

  const check = async () => {
    const usage = await processTree(options.pid);
    if (stopped) return;
    // Processes that ended take their CPU time out of the sum; what was seen once stays seen.
    cpuMs = Math.max(cpuMs, usage.cpuMs);
    const offset = options.outputOffset();
    if (offset !== lastOffset) lastOutputAt = performance.now();
    lastOffset = offset;
    if (usage.memoryBytes > options.memoryBytes && !exceeded) {
      exceeded = true;
      options.onMemoryExceeded(usage.memoryBytes);
    }
    checks += 1;
    if (checks % HEARTBEAT_LIMITS.checksPerHeartbeat === 0) {
      options.onHeartbeat({
        type: "heartbeat",
        time: new Date().toISOString(),
        outputOffset: offset,
        lastOutputMsAgo:
          lastOutputAt === null ? null : Math.round(performance.now() - lastOutputAt),
        cpuMs: Math.round(cpuMs),
        memoryBytes: Math.round(usage.memoryBytes),
        processes: usage.pids.length,
      });
    }
    timer = setTimeout(() => void check(), HEARTBEAT_LIMITS.checkMs);
  };

  timer = setTimeout(() => void check(), HEARTBEAT_LIMITS.checkMs);
  return {
    [Symbol.dispose]: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
