import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SealedRecording } from "../protocol/child-status.ts";

/**
 * A sidecar that exits is started again, and a recorder that starts again without a spool would begin a second recording. So the
 * recorder of a pod leaves a note when its work is done, and waits for the end of the pod.
 */
const NOTE = "sealed.json";

/** `volume`: the recorder's own, in which the spool lies. */
export function isSealed(volume: string): boolean {
  return existsSync(join(volume, NOTE));
}

export function noteSealed(volume: string, recording: SealedRecording): void {
  writeFileSync(join(volume, NOTE), `${JSON.stringify(recording)}\n`, { mode: 0o600 });
}

/** Resolves when the signal is aborted; the timer keeps an idle process alive. */
export async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setInterval(() => undefined, 60_000);
  signal.addEventListener("abort", () => resolve(), { once: true });
  await promise.finally(() => clearInterval(timer));
}
