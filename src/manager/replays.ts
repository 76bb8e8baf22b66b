import { Worker } from "node:worker_threads";
import type { Log } from "../kit/log.ts";
import { PlatformError } from "../kit/platform-error.ts";
import type { RecordedSession } from "./recorded-session.ts";
import { SEGMENT_BYTES, indexPathOf, readReplayIndex, type ReplayIndex } from "./replay-index.ts";

/** Indexes kept in memory, the least used go first; each holds one screen for each 256 KiB of its recording. */
const MAX_KEPT = { count: 8, bytes: 64 * 1024 * 1024 };
/** Recordings of which the last try is remembered; for one that is forgotten, its index is looked at once more. */
const MAX_TRIED = 1024;
/** What a segment or a marker takes besides its text, about. */
const ENTRY_BYTES = 200;

interface Building {
  readonly until: number;
  readonly done: Promise<void>;
  at: number;
}

/** The indexes of recordings: made when somebody wants to see one, in a thread, one after the other, and kept beside them. */
export class Replays implements AsyncDisposable {
  readonly #log: Log;
  readonly #building = new Map<string, Building>();
  readonly #kept = new Map<string, ReplayIndex>();
  /** by path of the recording: its committed size at the last time that an index was made, and whether there was nothing to show */
  readonly #tried = new Map<string, { until: number; isEmpty: boolean }>();
  readonly #closing = new AbortController();
  #order: Promise<void> = Promise.resolve();

  constructor(log: Log) {
    this.#log = log;
  }

  /** How much of the index is there, 0 to 1; starts making it when it is not whole and nobody does. */
  async progress(session: RecordedSession): Promise<number> {
    const known = (await this.#known(session.recordingPath))?.until.offset ?? 0;
    const wanted = session.committedBytes;
    if (known >= wanted) return 1;
    // An index that cannot reach the end, for its last line is torn, is whole as well.
    if (known > 0 && this.#tried.get(session.recordingPath)?.until === wanted) return 1;
    const building = this.#begin(session.recordingPath, wanted);
    building.done.catch(() => undefined);
    return Math.min(0.99, Math.max(known, building.at) / wanted);
  }

  /** The index of the whole session as it is now; waits for it. Throws `PlatformError` `no_replay`. */
  async whole(session: RecordedSession): Promise<ReplayIndex> {
    return await this.#upTo(session, session.committedBytes);
  }

  /** An index that ends at most about a segment before the end: enough to show the screen as it is. */
  async recent(session: RecordedSession): Promise<ReplayIndex> {
    return await this.#upTo(session, session.committedBytes - SEGMENT_BYTES);
  }

  /** Forgets what it knows of a removed recording. */
  forget(recordingPath: string): void {
    this.#kept.delete(recordingPath);
    this.#tried.delete(recordingPath);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#order;
  }

  async #upTo(session: RecordedSession, offset: number): Promise<ReplayIndex> {
    const path = session.recordingPath;
    const wanted = session.committedBytes;
    let index = await this.#known(path);
    if (wanted > 0 && (index === null || index.until.offset < offset)) {
      const tried = this.#tried.get(path);
      // One that was made and is gone is made again.
      if (tried?.until !== wanted || (index === null && !tried.isEmpty))
        await this.#begin(path, wanted).done;
      index = await this.#known(path);
    }
    if (index !== null) return index;
    throw new PlatformError("no_replay", `Session "${session.session}" has nothing to replay yet`, {
      fix: "look again once its terminal has shown something",
    });
  }

  async #known(path: string): Promise<ReplayIndex | null> {
    const held = this.#kept.get(path);
    const index = held ?? (await readReplayIndex(indexPathOf(path)));
    if (index === null) return null;
    // The last one is the last used.
    this.#kept.delete(path);
    this.#kept.set(path, index);
    if (held !== undefined) return held;
    let bytes = [...this.#kept.values()].reduce((sum, kept) => sum + bytesOf(kept), 0);
    for (const [oldest, kept] of this.#kept) {
      if (oldest === path || (this.#kept.size <= MAX_KEPT.count && bytes <= MAX_KEPT.bytes)) break;
      this.#kept.delete(oldest);
      bytes -= bytesOf(kept);
    }
    return index;
  }

  #begin(path: string, until: number): Building {
    const running = this.#building.get(path);
    if (running !== undefined) return running;
    const turn = this.#order.then(async () => await this.#build(path, building));
    const building: Building = { until, at: 0, done: turn };
    this.#building.set(path, building);
    this.#order = turn.catch(() => undefined);
    return building;
  }

  async #build(path: string, building: Building): Promise<void> {
    const { signal } = this.#closing;
    try {
      signal.throwIfAborted();
      const started = performance.now();
      await runWorker({ path, until: building.until }, (offset) => (building.at = offset), signal);
      const isEmpty = (await readReplayIndex(indexPathOf(path))) === null;
      this.#tried.delete(path);
      this.#tried.set(path, { until: building.until, isEmpty });
      for (const oldest of this.#tried.keys()) {
        if (this.#tried.size <= MAX_TRIED) break;
        this.#tried.delete(oldest);
      }
      const ms = Math.round(performance.now() - started);
      this.#log.info({ path, bytes: building.until, ms }, "replay index made");
    } catch (error) {
      if (!signal.aborted) this.#log.error({ path, err: error }, "replay index could not be made");
      throw error;
    } finally {
      this.#kept.delete(path);
      this.#building.delete(path);
    }
  }
}

function bytesOf({ segments, markers }: ReplayIndex): number {
  const text = (sum: number, length: number): number => sum + ENTRY_BYTES + length;
  return (
    segments.reduce((sum, { screen }) => text(sum, screen.length), 0) +
    markers.reduce((sum, { label }) => text(sum, label.length), 0)
  );
}

/** One run of the indexer; resolves when the thread has ended. */
async function runWorker(
  work: { path: string; until: number },
  onProgress: (offset: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const worker = new Worker(new URL("./index-worker.ts", import.meta.url), { workerData: work });
  const ended = Promise.withResolvers<void>();
  worker.on("message", onProgress);
  worker.once("error", ended.reject);
  worker.once("exit", (code) =>
    code === 0 ? ended.resolve() : ended.reject(new Error(`Indexer ended with code ${code}`)),
  );
  const onAbort = (): void => void worker.terminate();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await ended.promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
