import { statfs } from "node:fs/promises";
import { CallStopped } from "./call-end.ts";

const LOOK_EVERY_MS = 100;
/** What a call may take of the file system that its copy of the workspace lies on: this, or half of what was free. */
const MOST = { bytes: 2 * 1024 ** 3, files: 400_000 } as const;

/** Stops a call that fills the file system of its private copy, by what is left of it: files without a name count too. Dispose it with the call. */
export async function watchDisk(
  path: string,
  stop: (reason: CallStopped) => void,
): Promise<Disposable> {
  const before = await freeOf(path);
  const least = {
    bytes: before.bytes - Math.min(MOST.bytes, before.bytes / 2),
    files: before.files - Math.min(MOST.files, before.files / 2),
  };
  const look = async (): Promise<void> => {
    const now = await freeOf(path);
    const isFull = now.bytes < least.bytes || (before.files > 0 && now.files < least.files);
    if (isFull) stop(diskFull());
  };
  const timer = setInterval(() => void look().catch(() => {}), LOOK_EVERY_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

async function freeOf(path: string): Promise<{ bytes: number; files: number }> {
  const { bavail, bsize, ffree } = await statfs(path);
  return { bytes: bavail * bsize, files: ffree };
}

function diskFull(): CallStopped {
  return new CallStopped(
    "killed_by_limit",
    "The file system that holds the tool's copy of the workspace was filling up, and the tool was killed",
    "make room there, or let the tool write less into its workspace",
  );
}
