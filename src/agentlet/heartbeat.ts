import { processTree } from "../kit/process-tree.ts";
import type { AgentletEvent } from "../protocol/agentlet-link.ts";
import type { Evidence } from "./states/evidence.ts";
import { StallWatch } from "./states/stall-watch.ts";
import type { TranscriptGrowth } from "./transcript-growth.ts";

export const HEARTBEAT_LIMITS = {
  checkMs: 1000,
  checksPerHeartbeat: 5,
  /** a busy CLI that shows no sign of life at all for this long is ended as stalled */
  stalledMs: 30 * 60_000,
};

/** More of one CPU than a terminal program takes that waits for a key. */
const WORK_SHARE = 0.05;

export interface HeartbeatOptions {
  /** host pid whose descendants are zone A */
  pid: number;
  memoryBytes: number;
  outputOffset: () => number;
  /** what the CLI has said of itself */
  evidence: () => Evidence;
  /** what it writes down; null when nobody knows where */
  transcript: Pick<TranscriptGrowth, "size" | "look"> | null;
  isBusy: () => boolean;
  /** Zone A has computed for more than a moment since the last look: what is in it does not just wait. */
  onWork?: () => void;
  /** It says that it is busy and shows no sign of life for very long. Called once. */
  onStalled: (silentMs: number) => void;
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
  let stalled = false;
  let told = { cpuMs: 0, atMs: performance.now() };
  let seen = told;
  const stall = new StallWatch(HEARTBEAT_LIMITS.stalledMs);
  let lastOffset = options.outputOffset();
  let lastOutputAt: number | null = null;
  let timer: NodeJS.Timeout;

  const check = async () => {
    const usage = await processTree(options.pid);
    if (stopped) return;
    const lookedAtMs = performance.now();
    if (usage.cpuMs - seen.cpuMs > WORK_SHARE * (lookedAtMs - seen.atMs)) options.onWork?.();
    seen = { cpuMs: usage.cpuMs, atMs: lookedAtMs };
    // Processes that ended take their CPU time out of the sum; what was seen once stays seen.
    cpuMs = Math.max(cpuMs, usage.cpuMs);
    const offset = options.outputOffset();
    if (offset !== lastOffset) lastOutputAt = performance.now();
    lastOffset = offset;
    if (usage.memoryBytes > options.memoryBytes && !exceeded) {
      exceeded = true;
      options.onMemoryExceeded(usage.memoryBytes);
    }
    const nowMs = performance.now();
    const transcript = options.transcript?.size ?? null;
    const evidence = withGrowth(options.evidence(), transcript?.grownMsAgo ?? null);
    const signs = { ...evidence, nowMs, outputOffset: offset, cpuMs, isBusy: options.isBusy() };
    const life = stall.look(signs);
    if (life.stalled && !stalled) {
      stalled = true;
      options.onStalled(life.silentMs);
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
        cpuPercent: Math.round(((cpuMs - told.cpuMs) / (nowMs - told.atMs)) * 1000) / 10,
        ...evidence,
        transcriptBytes: transcript?.bytes ?? null,
      });
      told = { cpuMs, atMs: nowMs };
    }
    // Not waited for: what it finds is told by the next heartbeat.
    if ((checks + 1) % HEARTBEAT_LIMITS.checksPerHeartbeat === 0) void options.transcript?.look();
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

/** A transcript that grows is a word of the CLI like one that says something. */
function withGrowth(evidence: Evidence, grownMsAgo: number | null): Evidence {
  if (grownMsAgo === null) return evidence;
  const { lastTranscriptMsAgo } = evidence;
  return {
    ...evidence,
    lastTranscriptMsAgo: Math.min(lastTranscriptMsAgo ?? Infinity, grownMsAgo),
  };
}
