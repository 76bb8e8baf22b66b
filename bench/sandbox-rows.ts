import { findBubblewrap } from "../src/kit/bubblewrap-zone.ts";
import { configurePool } from "../src/kit/sandbox-pool.ts";
import { messageOf } from "../src/kit/platform-error.ts";
import { ask, forked } from "./forked.ts";
import { median, sideBySide, timesOf } from "./measure.ts";
import { missingRow, ratioRow } from "./row.ts";
import type { Row } from "./row.ts";
import { runcBundle } from "./runc-true.ts";
import { sandboxedTrue, spawned } from "./sandbox-work.ts";

// The least that bubblewrap needs for the same view: no seccomp, no limits, no listener, no init of ours.
const BARE_BWRAP =
  "--unshare-all --die-with-parent --new-session --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev --size 16777216 --tmpfs /tmp --clearenv /bin/true".split(
    " ",
  );
const COLD = "sandboxed /bin/true, built per call";
const WARM = "sandboxed /bin/true, prepared ahead";
const NO_POOL = { size: 0, blanks: 0, profiles: 1, idleMs: 60_000 };
const POOL = { ...NO_POOL, size: 4 };
const LARGE_BYTES = 1024 ** 3;
const RUNC_TURNS = 12;

/** A tool's sandbox around /bin/true, from the call to the end of its last process, beside what else could run it. */
export async function sandboxRows(): Promise<Row[]> {
  const bwrap = findBubblewrap(process.env["PATH"] ?? "/usr/bin:/bin");
  const times = await sideBySide(80, {
    node: () => spawned("/bin/true", []),
    bwrap: () => spawned(bwrap, BARE_BWRAP),
    cold: () => sandboxedTrue({ listens: true }),
  });
  // In steady state, each call followed by the next, so that what is prepared for the next is paid for here, too.
  await configurePool(POOL);
  const warm = median(await timesOf(80, () => sandboxedTrue({ listens: true })));
  await configurePool(NO_POOL);
  const cold = median(times.cold);
  const node = { name: "Node spawn /bin/true", value: median(times.node) };
  const bare = { name: "bare bwrap", value: median(times.bwrap) };
  return [
    ratioRow(COLD, cold, "ms", node, { atMost: 0.8 }),
    ratioRow(WARM, warm, "ms", node, { atMost: 0.6 }),
    ratioRow(COLD, cold, "ms", bare, { atMost: 1 }),
    await runcRow(cold),
    missingRow(
      `${COLD}, against sandbox-runtime`,
      "@anthropic-ai/sandbox-runtime is not installed by any script here yet",
    ),
    ...(await largeHeapRows()),
  ];
}

async function runcRow(cold: number): Promise<Row> {
  try {
    using bundle = runcBundle();
    let turn = 0;
    const times = await timesOf(RUNC_TURNS, () => {
      turn += 1;
      const name = `agentkube-bench-${process.pid}-${turn}`;
      return spawned("runc", ["run", "--bundle", bundle.dir, name]);
    });
    return ratioRow(COLD, cold, "ms", { name: "runc run", value: median(times) }, { atMost: 1 });
  } catch (error) {
    return missingRow(`${COLD}, against runc run`, messageOf(error).split("\n")[0] ?? "");
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
