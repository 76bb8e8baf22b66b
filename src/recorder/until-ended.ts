import type { Recording } from "./recording.ts";
import type { Spool } from "./spool.ts";

/**
 * Resolves when the end of a recording is durable: the exit that its producer sent, or the interruption that is written once `lost` gives
 * a cause, which is asked each time the spool's bell rings. Throws when the spool has failed, and the signal's reason: then there is no end.
 */
export async function untilEnded(
  spool: Spool,
  recording: Recording,
  lost: () => string | null,
  signal: AbortSignal,
): Promise<void> {
  while (!recording.durable.ended) {
    const { next } = spool.grown;
    if (spool.failure !== null) throw spool.failure;
    signal.throwIfAborted();
    const cause = lost();
    if (cause !== null) recording.interrupt(cause);
    await next;
  }
  await spool.flush(signal);
}
