import type { RecordedSession } from "./recorded-session.ts";
import type { RecordingReader } from "./recording-reader.ts";

const BLOCK_BYTES = 64 * 1024;
/** A line of a recording is far shorter; a file that has none is not a recording. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;
/** How often a run without an open recording is looked at again. */
const LOOK_MS = 200;

/** Some whole lines of a recording. `history`: they were committed before the reader came. */
export interface LineBatch {
  lines: string[];
  history: boolean;
  /** offset after the last of them */
  end: number;
}

/**
 * The committed lines of a run's recording from the first one, and then as they are committed, until the run has ended and all were
 * given; without `follow` only to the first `history` bytes; `from`, the beginning of a line, leaves out what is before it. Reads at the pace of its consumer, from the file: a slow viewer holds up nobody.
 */
export async function* tailOf(
  session: RecordedSession,
  { from = 0, history, follow }: { from?: number; history: number; follow: boolean },
  signal: AbortSignal,
): AsyncGenerator<LineBatch> {
  let reader: RecordingReader | null = null;
  let at = from;
  let held: Buffer = Buffer.alloc(0);
  const block = Buffer.alloc(BLOCK_BYTES);
  try {
    while (!signal.aborted) {
      // Looked at before the size: an end seen here means that the size is final.
      const isLast = !session.isLive;
      const committed = session.committedBytes;
      if (!follow && at >= history) return;
      if (at >= committed) {
        if (isLast || !follow) return;
        await growth(session, at, signal);
        continue;
      }
      reader ??= await session.readRecording();
      if (reader === null) throw new Error(`The recording of "${session.session}" is gone`);
      const limit = at < history ? Math.min(history, committed) : committed;
      const { bytesRead } = await reader.read(block, 0, Math.min(block.length, limit - at), at);
      if (bytesRead === 0) return;
      const past = at < history;
      at += bytesRead;
      const bytes = Buffer.concat([held, block.subarray(0, bytesRead)]);
      const whole = bytes.lastIndexOf(0x0a) + 1;
      held = bytes.subarray(whole);
      if (held.length > MAX_LINE_BYTES) return;
      if (whole > 0)
        yield {
          lines: bytes
            .subarray(0, whole - 1)
            .toString("utf8")
            .split("\n"),
          history: past,
          end: at - held.length,
        };
    }
  } finally {
    await reader?.[Symbol.asyncDispose]();
  }
}

/** Resolves when more than `known` bytes are committed, the run has ended, or the reader is gone. */
async function growth(session: RecordedSession, known: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stops: (() => void)[] = [];
  const onAbort = (): void => resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  stops.push(session.onEnded(() => resolve()));
  stops.push(session.onCommitted(() => resolve()));
  // For a recording that opens or closes meanwhile.
  const timer = setTimeout(resolve, LOOK_MS);
  if (session.committedBytes > known || signal.aborted) resolve();
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", onAbort);
  for (const stop of stops) stop();
}
