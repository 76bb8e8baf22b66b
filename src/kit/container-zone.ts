import timers from "node:timers/promises";
import { nativeProgram } from "./native.ts";
import { PlatformError } from "./platform-error.ts";
import { killNow } from "./process-alive.ts";
import { childrenOf } from "./process-tree.ts";
import type { Sandbox } from "./sandbox.ts";
import { type FailedStart, launchZone, openedZone, ZoneProcess } from "./zone-process.ts";

/** What zone A is made of where the container is the zone. */
export interface ContainerZonePlan {
  /** directories that nothing in the zone may open, such as that of the agentlet's token */
  hidden: readonly string[];
  /** port on the container's loopback for the gateway */
  listen: number;
  processes: number;
}

/** A zone in a container, and whether the kernel keeps its programs from us: from our token, our sockets, our processes. */
export interface ContainerZone {
  readonly zone: Sandbox;
  /** null, or why the events and the record of this run are self-reported */
  readonly weakness: string | null;
}

const KILL_ROUND_MS = 20;
/** What the kernel has not let go by then, in a call that cannot be interrupted, ends with the container. */
const KILL_LIMIT_MS = 5000;
const SIGKILL = 9;
/** pod-zone ends with it when the kernel cannot fence the zone. */
const CANNOT_FENCE = 78;

/**
 * Starts zone-init beside us in this container, behind a Landlock fence: it and all it starts may signal only each other, connect only to
 * abstract sockets of their own, and not open what is hidden. Without Landlock of Linux 6.12 it starts unfenced, and says so.
 */
export async function openContainerZone(
  plan: ContainerZonePlan,
  signal: AbortSignal,
): Promise<ContainerZone> {
  try {
    return { zone: await start(plan, true, signal), weakness: null };
  } catch (error) {
    if (!(error instanceof PlatformError) || error.code !== "zone_unfenced") throw error;
    const weakness =
      "The kernel of this node has no Landlock signal scope (Linux 6.12): the agent could read and end the agentlet's process, so events and record are self-reported";
    return { zone: await start(plan, false, signal), weakness };
  }
}

async function start(
  plan: ContainerZonePlan,
  isFenced: boolean,
  signal: AbortSignal,
): Promise<Sandbox> {
  signal.throwIfAborted();
  const init = [nativeProgram("zone-init"), "--listen", String(plan.listen)];
  init.push("--processes", String(plan.processes));
  if (isFenced) init.push("--signals", "scoped");
  const fence = plan.hidden.flatMap((path) => ["--hide", path]);
  const [program = "", ...words] = isFenced
    ? [nativeProgram("pod-zone"), ...fence, "--", ...init]
    : init;
  const { child, control } = launchZone({
    program,
    arguments: words,
    env: {},
    stdio: ["ignore", "ignore", "pipe"],
    descriptors: [],
  });
  return await openedZone(new FencedZone(child, control), async (zone) => {
    await zone.ready(startFailure, signal);
    zone.stderr?.resume();
  });
}

function startFailure({ said, exitCode }: FailedStart): PlatformError {
  if (exitCode === CANNOT_FENCE)
    return new PlatformError("zone_unfenced", "The kernel cannot fence zone A");
  const words = said === "" ? "its launcher ended without a word" : said;
  return new PlatformError("sandbox_start_failed", `Zone A did not start: ${words}`);
}

class FencedZone extends ZoneProcess {
  readonly rootPath = "/";

  /** There is no namespace to take away: everything that zone-init has inherited is killed, until nothing is left or it takes too long. */
  async kill(): Promise<void> {
    const end = performance.now() + KILL_LIMIT_MS;
    while (!this.isGone && performance.now() < end) {
      // Stopped, which its programs can do to it where the kernel has no fence, it would reap none of them.
      this.child.kill("SIGCONT");
      this.signalAll(SIGKILL);
      const children = await childrenOf(this.pid);
      if (children.length === 0) break;
      for (const pid of children) killNow(pid);
      await timers.setTimeout(KILL_ROUND_MS);
    }
    if (!this.isGone) this.child.kill("SIGKILL");
    await this.closed;
  }
}
