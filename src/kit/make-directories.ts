import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { errnoOf } from "./platform-error.ts";

/**
 * Makes a directory and those above it that are missing, each with this mode; one that is there stays as it is. Not node's
 * recursive mkdir: that one never returns where the kernel says ENOENT for what cannot be made, as below /proc, and it blocks
 * the thread meanwhile, so that no signal ends the program.
 */
export function makeDirectories(path: string, mode = 0o700): void {
  const missing: string[] = [];
  for (let at = path; !isDirectory(at); at = dirname(at)) missing.push(at);
  for (const each of missing.toReversed()) {
    try {
      mkdirSync(each, { mode });
    } catch (error) {
      // Another program made it meanwhile. A file in the way is named by the level below it: ENOTDIR.
      if (errnoOf(error) !== "EEXIST" || (each === path && !isDirectory(each))) throw error;
    }
  }
}

/** False when nothing is there. What is there and is no directory is left to mkdir, which says so. */
function isDirectory(path: string): boolean {
  return (
    path === dirname(path) || statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
  );
}
