import { messageOf } from "./platform-error.ts";
import { ownMemoryOf } from "./process-tree.ts";
import type { SandboxPlan } from "./sandbox-arguments.ts";
import type { Sandbox, SandboxStdio } from "./sandbox.ts";
import { profileOf, type SandboxProfile, spawnBinds } from "./sandbox-profile.ts";
import { keepBlanks, ToolSandbox, toolSpawner } from "./tool-sandbox.ts";

/** Sandboxes prepared before their calls are known. Each costs a small process of about 0.5 MiB and its namespaces. */
export interface PoolOptions {
  /** how many wait for each profile; 0 prepares none */
  size: number;
  /** how many wait half made, for calls that find none of their profile */
  blanks: number;
  /** profiles that have sandboxes waiting; the one used longest ago gives way */
  profiles: number;
  /** a sandbox that waited this long in vain is ended */
  idleMs: number;
}

/** What the pool did since it was configured. */
export interface PoolMetrics {
  /** how many are to wait for each profile */
  size: number;
  /** waiting now */
  waiting: number;
  /** memory of their own that these hold */
  waitingBytes: number;
  /** calls that found a prepared sandbox */
  warm: number;
  /** calls that had to build theirs */
  cold: number;
  prepared: number;
  /** ended without a call: too old, or gone by themselves */
  discarded: number;
}

interface Waiting {
  sandbox: ToolSandbox;
  expires: NodeJS.Timeout;
}

let options: PoolOptions = { size: 0, blanks: 0, profiles: 16, idleMs: 60_000 };
const shelves = new Map<string, Waiting[]>();
const counted = { warm: 0, cold: 0, prepared: 0, discarded: 0 };

/** Sets how many sandboxes wait. What waits now is ended, and counting begins anew. */
export async function configurePool(wanted: PoolOptions): Promise<void> {
  options = wanted;
  await emptyPool();
  keepBlanks(wanted.blanks);
  Object.assign(counted, { warm: 0, cold: 0, prepared: 0, discarded: 0 });
}

/** Ends every sandbox that waits; nothing of the pool is left when it resolves. */
export async function emptyPool(): Promise<void> {
  const all = [...shelves.values()].flat();
  shelves.clear();
  keepBlanks(0);
  await Promise.all(all.map(discard));
}

export function poolMetrics(): PoolMetrics {
  const waiting = [...shelves.values()].flat();
  const bytes = waiting.map(({ sandbox }) => ownMemoryOf(sandbox.waitingPid));
  return {
    size: options.size,
    waiting: waiting.length,
    waitingBytes: bytes.reduce((sum, each) => sum + each, 0),
    ...counted,
  };
}

/** Starts a tool's sandbox: a prepared one when there is one of its profile, else one of its own. Each is used once. */
export async function openToolSandbox(
  plan: SandboxPlan,
  stdio: SandboxStdio,
  signal: AbortSignal,
): Promise<Sandbox> {
  const profile = profileOf(plan);
  const binds = spawnBinds(plan);
  // A control group is of one call alone.
  const waiting = plan.enforced === undefined ? take(profile.key) : null;
  counted[waiting === null ? "cold" : "warm"] += 1;
  const sandbox = waiting ?? new ToolSandbox(profile, binds);
  try {
    await sandbox.run(plan, stdio, waiting === null ? null : binds, signal);
  } catch (error) {
    // Never tried again: nobody knows how far the tool came.
    await sandbox[Symbol.asyncDispose]();
    throw error;
  }
  // Now that the tool runs, nobody waits for this process or its helper.
  if (plan.enforced === undefined) refill(profile);
  return sandbox;
}

function take(key: string): ToolSandbox | null {
  const shelf = shelves.get(key) ?? [];
  // One that ended while it waited is known before it is given a call.
  if (shelf.length > 0) toolSpawner().hear();
  for (let next = shelf.shift(); next !== undefined; next = shelf.shift()) {
    clearTimeout(next.expires);
    if (!next.sandbox.isGone) return next.sandbox;
    counted.discarded += 1;
  }
  return null;
}

/** Fills a profile's shelf while a call of it runs. */
function refill(profile: SandboxProfile): void {
  if (options.size === 0) return;
  const shelf = shelves.get(profile.key) ?? [];
  // Most recently used last.
  shelves.delete(profile.key);
  shelves.set(profile.key, shelf);
  for (const [key, old] of shelves) {
    if (shelves.size <= options.profiles) break;
    shelves.delete(key);
    for (const each of old) void discard(each);
  }
  while (shelf.length < options.size && prepare(profile, shelf)) continue;
}

/** Puts one more on the shelf; false when none can be made. */
function prepare(profile: SandboxProfile, shelf: Waiting[]): boolean {
  let sandbox: ToolSandbox;
  try {
    sandbox = new ToolSandbox(profile, null);
  } catch (error) {
    // The next call meets the same and says so; a pool has nobody to tell.
    counted.discarded += 1;
    process.emitWarning(`No sandbox could be prepared: ${messageOf(error)}`);
    return false;
  }
  counted.prepared += 1;
  const waiting: Waiting = {
    sandbox,
    expires: setTimeout(() => {
      shelf.splice(shelf.indexOf(waiting), 1);
      void discard(waiting);
    }, options.idleMs).unref(),
  };
  shelf.push(waiting);
  return true;
}

async function discard({ sandbox, expires }: Waiting): Promise<void> {
  clearTimeout(expires);
  counted.discarded += 1;
  await sandbox[Symbol.asyncDispose]();
}
