import { chmod, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";

const TRASH = ".trash-";

/** Removes a directory of the data directory: first out of sight in one step, so that a half removed one is never seen. */
export async function removeTree(dataDir: string, dir: string): Promise<void> {
  await sweepTrash(dataDir);
  try {
    // A directory that may not be written cannot be moved to another parent either.
    await chmod(dir, 0o700);
    const trash = await mkdtemp(join(dataDir, TRASH));
    await rename(dir, join(trash, basename(dir)));
    await empty(trash);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return;
    throw new PlatformError(
      "remove_failed",
      `Cannot remove "${dir}": ${errnoOf(error) ?? messageOf(error)}`,
      { path: dir, cause: error },
    );
  }
}

/** Takes away what an earlier removal, killed half way, has left. */
export async function sweepTrash(dataDir: string): Promise<void> {
  const names = await readdir(dataDir).catch(() => []);
  for (const name of names.filter((candidate) => candidate.startsWith(TRASH)))
    await empty(join(dataDir, name));
}

async function empty(dir: string): Promise<void> {
  // Packages are read-only, directories too: nothing can be taken out of those as an ordinary user.
  await unlock(dir);
  await rm(dir, { recursive: true, force: true });
}

async function unlock(dir: string): Promise<void> {
  await chmod(dir, 0o700).catch(() => {});
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await unlock(join(dir, entry.name));
}
