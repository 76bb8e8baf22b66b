import { open } from "node:fs/promises";
import { errnoOf } from "../kit/platform-error.ts";

/** A recording for somebody who only reads it: replay, live view, download. Recordings that are kept elsewhere have readers of their own. */
export interface RecordingReader extends AsyncDisposable {
  /** Reads up to `length` bytes from `position` on into `buffer` at `offset`; none at the end of the recording. */
  read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesRead: number }>;
}

/** Of a file; null where there is none yet. */
export async function readRecordingFile(path: string): Promise<RecordingReader | null> {
  return await open(path, "r").catch((error: unknown) => {
    if (errnoOf(error) === "ENOENT") return null;
    throw error;
  });
}
