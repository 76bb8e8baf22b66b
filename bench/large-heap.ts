// A process with 1 GB of touched memory, as a tool-runner may become: asked by the benchmark, it measures there.
import { answer } from "./forked.ts";
import { configurePool } from "../src/kit/sandbox-pool.ts";
import { median, sideBySide } from "./measure.ts";
import { sandboxedTrue, spawned } from "./sandbox-work.ts";

const PIECE_BYTES = 16 * 1024 ** 2;
let held: Buffer[] = [];

/** The medians of Node's spawn and of a sandbox built per call, holding this many bytes. */
answer(async ({ bytes }: { bytes: number }) => {
  held = Array.from({ length: Math.ceil(bytes / PIECE_BYTES) }, () => Buffer.alloc(PIECE_BYTES, 1));
  await configurePool({ size: 0, blanks: 2, profiles: 1, idleMs: 60_000 });
  const times = await sideBySide(40, {
    spawn: () => spawned("/bin/true", []),
    sandbox: () => sandboxedTrue({ listens: true }),
  });
  await configurePool({ size: 0, blanks: 0, profiles: 1, idleMs: 60_000 });
  return { held: held.length, spawn: median(times.spawn), sandbox: median(times.sandbox) };
});
