import { setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { buildReplayIndex } from "./build-replay-index.ts";

/** A thread of its own: emulating a terminal for a large recording takes seconds of a core, which acknowledgements must not wait for. */
const { path, until } = workerData as { path: string; until: number };

try {
  // Of this thread only, on Linux.
  setPriority(0, 10);
} catch {
  // It then takes its turn like the others.
}
await buildReplayIndex(path, until, (offset) => parentPort?.postMessage(offset));
