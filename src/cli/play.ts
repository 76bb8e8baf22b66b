import { once } from "node:events";
import { MAX_TIMER_MS } from "../kit/max-timer.ts";
import timers from "node:timers/promises";
import { ViewerFilter } from "../kit/viewer-filter.ts";
import { readIntact, type CastHeader, type CastSource } from "../protocol/asciicast.ts";
import type { Output } from "./output.ts";
import { GIVE_BACK_TITLE, KEEP_TITLE, TerminalModes } from "./terminal-modes.ts";

export interface PlayOptions {
  readonly output: Output;
  readonly stdin: NodeJS.ReadStream;
  readonly speed: number;
  /** longest pause in `ms`; null: as the header says, else as it was */
  readonly idleLimitMs: number | null;
  readonly onSignal: (listener: (signal: NodeJS.Signals) => void) => () => void;
}

/** Plays a recording in its own time. Keys on a terminal: space pauses, `.` steps while paused, q ends. True when it reached its end. */
export async function play(source: CastSource, options: PlayOptions): Promise<boolean> {
  const { output, stdin } = options;
  using keys = new Keys(stdin, options.onSignal);
  const clock = new Clock(options.speed);
  keys.onKey = (key) => {
    if (key === " ") clock.toggle();
    if (key === ".") clock.step();
  };
  let idleLimitMs = options.idleLimitMs;
  let lastMs = 0;
  let virtualMs = 0;
  const filter = output.stdout.isTTY === true ? new ViewerFilter() : null;
  const modes = new TerminalModes();
  if (output.interactive) output.stdout.write(KEEP_TITLE);
  try {
    for await (const item of readIntact(source)) {
      if (item.kind === "header") {
        idleLimitMs ??= idleLimitOf(item.header);
        warnIfSmall(item.header, output);
      }
      if (item.kind !== "event") continue;
      const atMs = item.event.timeUs / 1000;
      virtualMs += Math.min(atMs - lastMs, idleLimitMs ?? Number.POSITIVE_INFINITY);
      lastMs = atMs;
      if (item.event.code !== "o") continue;
      await clock.until(virtualMs, keys.ended);
      if (output.stdout.destroyed) return false;
      const bytes = Buffer.from(item.event.data);
      modes.push(bytes);
      filter?.push(bytes);
      if (!output.stdout.write(bytes)) await once(output.stdout, "drain");
    }
    await clock.until(virtualMs, keys.ended);
    return true;
  } catch (error) {
    if (keys.ended.aborted) return false;
    throw error;
  } finally {
    if (output.interactive) {
      output.stdout.write(`${modes.restore()}${GIVE_BACK_TITLE}\n`);
      // Keys still on their way would otherwise land on the shell's prompt.
      if (keys.raw) await timers.setTimeout(50);
    }
  }
}

/** Virtual time that can be paused. */
class Clock {
  readonly #speed: number;
  #startedAt = performance.now();
  #pausedAt: number | null = null;
  #steps = 0;
  #changed = Promise.withResolvers<void>();

  constructor(speed: number) {
    this.#speed = speed;
  }

  toggle(): void {
    const now = performance.now();
    if (this.#pausedAt === null) this.#pausedAt = now;
    else {
      this.#startedAt += now - this.#pausedAt;
      this.#pausedAt = null;
    }
    this.#wake();
  }

  step(): void {
    if (this.#pausedAt === null) return;
    this.#steps += 1;
    this.#wake();
  }

  /** Resolves when virtual time is at `ms`, or a step was asked for. Rejects when the signal aborts. */
  async until(ms: number, signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      const changed = this.#changed.promise;
      if (this.#pausedAt !== null && this.#steps > 0) {
        this.#steps -= 1;
        // The step moves the clock to this event, so that going on does not wait for it again.
        this.#startedAt = this.#pausedAt - ms / this.#speed;
        return;
      }
      if (this.#pausedAt !== null) {
        await Promise.race([changed, aborted(signal)]);
        continue;
      }
      const waitMs = this.#startedAt + ms / this.#speed - performance.now();
      if (waitMs <= 0) return;
      using waiting = new Waiting(signal);
      await Promise.race([changed, waiting.sleep(waitMs)]);
    }
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

/** A sleep that leaves no timer behind when something else came first. */
class Waiting {
  readonly #own = new AbortController();
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = AbortSignal.any([signal, this.#own.signal]);
  }

  async sleep(ms: number): Promise<void> {
    try {
      await timers.setTimeout(Math.min(ms, MAX_TIMER_MS), undefined, { signal: this.#signal });
    } catch {
      // Whoever raced us looks at the signal itself.
    }
  }

  [Symbol.dispose](): void {
    this.#own.abort();
  }
}

/** Keys of a terminal, and signals. `ended` aborts on q, Ctrl-C, Ctrl-D and on a signal. */
class Keys implements Disposable {
  readonly raw: boolean;
  onKey: (key: string) => void = () => {};
  readonly #stdin: NodeJS.ReadStream;
  readonly #ended = new AbortController();
  readonly #stopSignals: () => void;
  readonly #onData = (chunk: Buffer): void => {
    const key = chunk.toString("latin1");
    // Only single keys: sequences are arrow keys and the like.
    if (["q", "Q", "\u0003", "\u0004"].includes(key)) this.#ended.abort();
    else if (key.length === 1) this.onKey(key);
  };

  constructor(
    stdin: NodeJS.ReadStream,
    onSignal: (listener: (signal: NodeJS.Signals) => void) => () => void,
  ) {
    this.#stdin = stdin;
    this.#stopSignals = onSignal(() => this.#ended.abort());
    this.raw = stdin.isTTY;
    if (!this.raw) return;
    stdin.setRawMode(true);
    stdin.on("data", this.#onData);
    stdin.resume();
  }

  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  [Symbol.dispose](): void {
    this.#stopSignals();
    if (this.raw) {
      this.#stdin.off("data", this.#onData);
      this.#stdin.setRawMode(false);
      this.#stdin.pause();
    }
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, "abort");
}

function idleLimitOf(header: CastHeader): number | null {
  const limit = header.fields["idle_time_limit"];
  return typeof limit === "number" && limit > 0 ? limit * 1000 : null;
}

function warnIfSmall(header: CastHeader, output: Output): void {
  const { stdout } = output;
  if (!("columns" in stdout) || !("rows" in stdout)) return;
  const { columns, rows } = stdout as { columns: unknown; rows: unknown };
  if (typeof columns !== "number" || typeof rows !== "number") return;
  if (columns > 0 && (columns < header.cols || rows < header.rows))
    output.note(
      `Recorded at ${header.cols}x${header.rows}, this terminal is ${columns}x${rows}: lines may break wrongly`,
    );
}
