import fs from "node:fs/promises";
import { basename, dirname } from "node:path";
import { errnoOf } from "../kit/platform-error.ts";
import { OpenedDirectory } from "../kit/opened-directory.ts";

/**
 * Removes a directory that a tool left in any state: nested deeper than any path is long, with directories that nobody may read or
 * write. What lies inside a directory is moved up before it is removed, so no more than two are open at a time and no name is ever
 * long. Harmless when there is none.
 */
export async function removeLeftTree(path: string): Promise<void> {
  try {
    // The ordinary case at the ordinary price.
    return await fs.rm(path, { recursive: true, force: true });
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
  await using parent = await OpenedDirectory.open(dirname(path));
  await parent.openUp(basename(path));
  {
    await using root = await parent.openDirectory(basename(path));
    let moved = 0;
    for (let isEmpty = false; !isEmpty;) {
      isEmpty = true;
      for await (const { name } of root.entries()) {
        isEmpty = false;
        if (await removeEntry(root, name)) continue;
        await root.openUp(name);
        await using directory = await root.openDirectory(name);
        for await (const inner of directory.entries()) {
          if (await removeEntry(directory, inner.name)) continue;
          // To move a directory is to write to it.
          await directory.openUp(inner.name);
          await directory.moveTo(inner.name, root, `.left-${(moved += 1)}`);
        }
        await root.removeDirectory(name);
      }
    }
  }
  await parent.removeDirectory(basename(path));
}

/** False when the entry is a directory with something in it. */
async function removeEntry(directory: OpenedDirectory, name: string): Promise<boolean> {
  const entry = await directory.look(name);
  if (entry === null) return true;
  if (!entry.isDirectory()) {
    await directory.unlink(name);
    return true;
  }
  try {
    await directory.removeDirectory(name);
    return true;
  } catch (error) {
    if (["ENOTEMPTY", "EEXIST"].includes(errnoOf(error) ?? "")) return false;
    throw error;
  }
}
