import { constants } from "node:fs";
import { open, rm } from "node:fs/promises";
import { Screen } from "../kit/screen.ts";
import { SequenceScanner } from "../kit/sequence-scanner.ts";
import { stripComments } from "../protocol/asciicast.ts";
import { parseEvent } from "../protocol/asciicast-event.ts";
import { endOfWholeLines, writeFully } from "./durable-file.ts";
import { SEGMENT_BYTES, indexPathOf, readReplayIndex, type IndexLine } from "./replay-index.ts";

const BLOCK_BYTES = 256 * 1024;
/** What the emulator is given at a time. */
const WRITE_BYTES = 64 * 1024;
/** A segment that has grown to this ends at the next moment, inside a sequence too: the next one begins with the sequence's first bytes. */
const MAX_SEGMENT_BYTES = 4 * 1024 * 1024;
/** The index is kept after so many bytes of recording, so that a killed indexer goes on from there. */
const KEEP_BYTES = 16 * 1024 * 1024;

/**
 * Brings the index of a recording up to `until` bytes, from where it is. `onProgress` hears the offset now and then. Damaged lines are
 * passed over: an index of a bad recording is better than none.
 */
export async function buildReplayIndex(
  recordingPath: string,
  until: number,
  onProgress: (offset: number) => void,
): Promise<void> {
  const path = indexPathOf(recordingPath);
  const known = await readReplayIndex(path);
  if (known === null) await rm(path, { force: true });
  if (known !== null && known.until.offset >= until) return;
  await using recording = await open(recordingPath, "r");
  await using file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  let size = known === null ? 0 : await endOfWholeLines(file, (await file.stat()).size);
  await file.truncate(size);
  const keep = async (lines: IndexLine[]): Promise<void> => {
    const bytes = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    await writeFully(file, bytes, size);
    size += bytes.length;
  };
  if (known === null) await keep([{ kind: "index", version: 1, segmentBytes: SEGMENT_BYTES }]);
  const last = known?.segments.at(-1) ?? null;
  using indexer = new Indexer(last, known?.until ?? { offset: 0, ms: 0, events: 0 });
  let at = last?.offset ?? 0;
  let held: Buffer = Buffer.alloc(0);
  let keptAt = at;
  const block = Buffer.allocUnsafe(BLOCK_BYTES);
  while (at < until) {
    const { bytesRead } = await recording.read(block, 0, Math.min(block.length, until - at), at);
    if (bytesRead === 0) break;
    const bytes = Buffer.concat([held, block.subarray(0, bytesRead)]);
    let from = 0;
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, from)) {
      await indexer.take(bytes.toString("utf8", from, end), end + 1 - from);
      from = end + 1;
    }
    held = Buffer.from(bytes.subarray(from));
    at += bytesRead;
    onProgress(at);
    if (at - keptAt < KEEP_BYTES) continue;
    keptAt = at;
    await keep(indexer.lines());
  }
  await keep(indexer.lines());
  await file.datasync();
}

/** The recording so far: its clock, its screen, and what of it is not written down yet. */
class Indexer implements Disposable {
  readonly #scanner = new SequenceScanner();
  /** up to here the index knows all but the screen */
  readonly #known: { offset: number; ms: number; events: number };
  #screen: Screen | null = null;
  #lines: IndexLine[] = [];
  #offset: number;
  #segmentAt: number;
  #ms: number;
  #events: number;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #scanned = 0;

  constructor(
    last: Extract<IndexLine, { kind: "segment" }> | null,
    known: { offset: number; ms: number; events: number },
  ) {
    this.#known = known;
    this.#offset = last?.offset ?? 0;
    this.#segmentAt = last?.offset ?? -1;
    this.#ms = last?.baseMs ?? 0;
    this.#events = last === null ? 0 : known.events;
    if (last === null) return;
    this.#screen = new Screen(last, 0);
    this.#screen.write(last.screen);
    this.#scanner.push(Buffer.from(last.screen));
  }

  /** Takes a line without its newline. */
  async take(text: string, bytes: number): Promise<void> {
    const start = this.#offset;
    this.#offset += bytes;
    if (this.#screen === null) {
      this.#screen = new Screen(sizeOfHeader(text) ?? { cols: 80, rows: 24 }, 0);
      return;
    }
    const line = stripComments(text);
    const event = line === null ? null : parseEvent(line);
    if (event === null || "problem" in event) return;
    const ms = this.#ms + Math.round(event.time * 1000);
    const isDue = this.#segmentAt === -1 || start - this.#segmentAt >= SEGMENT_BYTES;
    const isLate = start - this.#segmentAt >= MAX_SEGMENT_BYTES;
    // Only between two moments, and not inside a sequence: the rest of it would be text in the next segment.
    const isPlace = this.#segmentAt === -1 || (ms > this.#ms && (isLate || this.#isWhole()));
    if (isDue && isPlace) await this.#begin(start, ms);
    this.#ms = ms;
    if (start >= this.#known.offset) this.#events += 1;
    if (event.code === "m" && start >= this.#known.offset)
      this.#lines.push({ kind: "marker", ms, label: event.data });
    if (event.code === "o") await this.#show(event.data);
    if (event.code === "r") await this.#resize(event.data);
  }

  /** What is to be written down, with how far the index goes now. */
  lines(): IndexLine[] {
    const lines = this.#lines;
    this.#lines = [];
    lines.push({ kind: "until", offset: this.#offset, ms: this.#ms, events: this.#events });
    return lines;
  }

  [Symbol.dispose](): void {
    this.#screen?.[Symbol.dispose]();
  }

  async #begin(offset: number, startMs: number): Promise<void> {
    await this.#drain();
    this.#segmentAt = offset;
    const { cols, rows } = this.#screen ?? { cols: 80, rows: 24 };
    const screen = (this.#screen?.text() ?? "") + this.#scanner.unfinished;
    // The first one begins with the recording, whenever its first event comes.
    const first = this.#lines.length === 0 && this.#known.offset === 0 && this.#events === 0;
    const start = first ? 0 : startMs;
    this.#lines.push({
      kind: "segment",
      offset,
      baseMs: this.#ms,
      startMs: start,
      cols,
      rows,
      screen,
    });
  }

  async #show(text: string): Promise<void> {
    this.#waiting.push(text);
    this.#waitingBytes += text.length;
    if (this.#waitingBytes >= WRITE_BYTES) await this.#drain();
  }

  async #resize(size: string): Promise<void> {
    await this.#drain();
    const [cols = 80, rows = 24] = size.split("x").map(Number);
    this.#screen?.resize({ cols: Math.min(cols, 1000), rows: Math.min(rows, 1000) });
  }

  async #drain(): Promise<void> {
    const text = this.#waiting.join("");
    this.#scan();
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#scanned = 0;
    if (text === "") return;
    const screen = this.#screen;
    await new Promise<void>((resolve) => screen?.write(text, resolve));
  }

  /** True when all that was shown so far ends outside of any sequence. */
  #isWhole(): boolean {
    this.#scan();
    return this.#scanner.isWhole;
  }

  #scan(): void {
    for (; this.#scanned < this.#waiting.length; this.#scanned++)
      this.#scanner.push(Buffer.from(this.#waiting[this.#scanned] ?? ""));
  }
}

/** The size in a v3 header; null where there is none. */
export function sizeOfHeader(line: string): { cols: number; rows: number } | null {
  try {
    const header = JSON.parse(line) as { term?: { cols?: unknown; rows?: unknown } } | null;
    const { cols, rows } = header?.term ?? {};
    if (!Number.isInteger(cols) || !Number.isInteger(rows)) return null;
    const clamp = (cells: unknown): number => Math.min(1000, Math.max(1, Number(cells)));
    return { cols: clamp(cols), rows: clamp(rows) };
  } catch {
    return null;
  }
}
