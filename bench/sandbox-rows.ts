import { findBubblewrap } from "../src/kit/bubblewrap-zone.ts";
import { configurePool, type PoolOptions } from "../src/kit/sandbox-pool.ts";
import { messageOf } from "../src/kit/platform-error.ts";
import { ask, forked } from "./forked.ts";
import { inTurns, median, timesOf } from "./measure.ts";
import { missingRow, peerRow, ratioRow } from "./row.ts";
import type { Row } from "./row.ts";
import { runcTrue } from "./runc-true.ts";
import { sandboxRuntimeTrue } from "./sandbox-runtime-true.ts";
import { sandboxedTrue, spawned } from "./sandbox-work.ts";

// The least that bubblewrap needs for the same view: no seccomp, no limits, no listener, no init of ours.
const BARE_BWRAP =
  "--unshare-all --die-with-parent --new-session --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev --size 16777216 --tmpfs /tmp --clearenv /bin/true".split(
    " ",
  );
// As a tool-runner does by itself: a few namespaces wait, and a root is made when the call comes.
const COLD = "sandboxed /bin/true, built per call";
const WARM = "sandboxed /bin/true, prepared ahead";
const BARE = "sandboxed /bin/true, namespaces too made when the call comes";
const NO_POOL = { size: 0, blanks: 0, profiles: 1, idleMs: 60_000 };
const BLANKS = { ...NO_POOL, blanks: 2 };
const POOL = { ...BLANKS, size: 2 };
const PEER_TURNS = 12;
const LARGE_BYTES = 1024 ** 3;

/** A tool's sandbox around /bin/true, from the call to the end of its last process, beside what else could run it. */
export async function sandboxRows(): Promise<Row[]> {
  const bwrap = findBubblewrap(process.env["PATH"] ?? "/usr/bin:/bin");
  const listening = () => sandboxedTrue({ listens: true });
  const under = (pool: PoolOptions) => async () => {
    await configurePool(pool);
    // What a setting leaves behind or makes ahead belongs to no call.
    await listening();
  };
  const times = await inTurns(80, {
    node: { work: () => spawned("/bin/true", []) },
    bwrap: { work: () => spawned(bwrap, BARE_BWRAP) },
    cold: { before: under(BLANKS), work: listening },
    // In steady state, each call followed by the next, so that what is prepared for the next is paid for here, too.
    warm: { before: under(POOL), work: listening },
    bare: { before: under(NO_POOL), work: listening },
  });
  await configurePool(NO_POOL);
  const cold = median(times.cold);
  const node = { name: "Node spawn /bin/true", value: median(times.node) };
  const bare = { name: "bare bwrap", value: median(times.bwrap) };
  return [
    ratioRow(COLD, cold, "ms", node, { atMost: 0.8 }),
    ratioRow(WARM, median(times.warm), "ms", node, { atMost: 0.6 }),
    peerRow(BARE, median(times.bare), "ms", node, null),
    ratioRow(COLD, cold, "ms", bare, { atMost: 1 }),
    await againstPeer("runc run", cold, runcTrue),
    await againstPeer("sandbox-runtime", cold, sandboxRuntimeTrue),
    ...(await largeHeapRows()),
  ];
}

/** Another sandbox around the same program, last because what it needs would make this process larger for the others. */
async function againstPeer(
  name: string,
  cold: number,
  open: () => Promise<() => Promise<void>>,
): Promise<Row> {
  try {
    const value = median(await timesOf(PEER_TURNS, await open()));
    return ratioRow(COLD, cold, "ms", { name, value }, { atMost: 1 });
  } catch (error) {
    return missingRow(`${COLD}, against ${name}`, messageOf(error).split("\n")[0] ?? "");
  }
}

/** What a call costs when the process that asks for it is large. */
async function largeHeapRows(): Promise<Row[]> {
  await using small = forked(new URL("large-heap.ts", import.meta.url));
  await using large = forked(new URL("large-heap.ts", import.meta.url));
  type Medians = { spawn: number; sandbox: number };
  const fresh = await ask<Medians>(small.child, { bytes: 0 });
  const grown = await ask<Medians>(large.child, { bytes: LARGE_BYTES });
  const row = `${COLD}, by a process with 1 GB in memory`;
  return [
    ratioRow(
      row,
      grown.sandbox,
      "ms",
      { name: "by a fresh process", value: fresh.sandbox },
      { atMost: 1.2 },
    ),
    ratioRow(
      row,
      grown.sandbox,
      "ms",
      { name: "Node spawn /bin/true by the same process", value: grown.spawn },
      { atMost: 0.8 },
    ),
  ];
}
