import { rawBytesOf } from "../protocol/asciicast.ts";
import { followLines } from "./follow-file.ts";
import { fitFor } from "./person-terminal.ts";
import { pour } from "./pour.ts";
import type { TerminalOutput } from "./output.ts";

/**
 * Writes the program's output as it is recorded, as `target` may have it and at the reader's pace, until `goesOn` says that
 * nothing more comes. Ends early when the reader is gone.
 */
export async function pourRecording(
  castPath: string,
  target: TerminalOutput,
  goesOn: () => Promise<boolean>,
  signal: AbortSignal,
): Promise<void> {
  const bytes = rawBytesOf(wholeLines(castPath, goesOn, signal));
  await pour(fitFor(target, bytes), target, { atOnce: true });
}

async function* wholeLines(
  castPath: string,
  goesOn: () => Promise<boolean>,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  for await (const line of followLines(castPath, goesOn, signal)) yield Buffer.from(`${line}\n`);
}
