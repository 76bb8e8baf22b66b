import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeDirectories } from "../../kit/make-directories.ts";
import { errnoOf, messageOf, PlatformError } from "../../kit/platform-error.ts";
import type { ToolCallResult } from "../../protocol/results.ts";

/**
 * Writes the files of a call into a directory and returns the result with their places instead of their bytes. A file that is there
 * is not written over: throws `PlatformError` `file_not_saved`.
 */
export async function saveFiles(
  result: ToolCallResult,
  directory: string,
): Promise<ToolCallResult> {
  if (result.files === undefined) return result;
  const saved = [];
  for (const { base64 = "", ...file } of result.files) {
    const savedAs = join(directory, file.path);
    try {
      makeDirectories(dirname(savedAs), 0o777);
      await writeFile(savedAs, Buffer.from(base64, "base64"), { flag: "wx" });
    } catch (error) {
      throw new PlatformError(
        "file_not_saved",
        `Cannot write the file "${file.path}" of the call: ${errnoOf(error) ?? messageOf(error)}`,
        { path: savedAs, fix: "give an empty directory with --files-to DIR", cause: error },
      );
    }
    saved.push({ ...file, savedAs });
  }
  return { ...result, files: saved };
}
