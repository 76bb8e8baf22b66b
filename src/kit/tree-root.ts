import { type Dirent, lstatSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import { join, posix } from "node:path";
import { PlatformError, errnoOf } from "./platform-error.ts";
import type { SandboxBind } from "./sandbox-arguments.ts";

/** A root file system as a sandbox shows it: an empty root of ours, with read-only binds and links where the tree has entries. */
export interface TreeLayout {
  binds: SandboxBind[];
  links: { path: string; target: string }[];
}

/** An /etc file longer than this is not what it seems. */
const LIMIT_BYTES = 1024 * 1024;

/**
 * Lays a directory out as `/`. A directory that holds one of `ours` (absolute paths inside) is made anew and filled entry by
 * entry, so that ours need no place in the tree; everything else is bound whole. An entry at one of `ours` gives way.
 * Throws `PlatformError` `root_invalid` when the tree cannot be read, or has a link or a file where a directory of ours must be.
 */
export function treeLayout(tree: string, ours: readonly string[]): TreeLayout {
  const layout: TreeLayout = { binds: [], links: [] };
  const lay = (directory: string): void => {
    for (const entry of entriesOf(tree, directory)) {
      const path = posix.join(directory, entry.name);
      if (ours.includes(path)) continue;
      const isParent = ours.some((place) => place.startsWith(`${path}/`));
      if (isParent && entry.isDirectory()) lay(path);
      else if (isParent) throw inTheWay(tree, path, ours);
      else if (entry.isSymbolicLink())
        layout.links.push({ path, target: linkTarget(join(tree, path)) });
      else if (entry.isDirectory() || entry.isFile())
        layout.binds.push({ source: join(tree, path), target: path, mode: "ro" });
    }
  };
  lay("/");
  return layout;
}

/** The text of a plain file of the tree; empty when there is none. Links are not followed, in no part of the path. */
export function treeText(tree: string, path: string): string {
  try {
    for (let at = posix.dirname(path); at !== "/"; at = posix.dirname(at))
      if (!lstatSync(join(tree, at)).isDirectory()) return "";
    const facts = lstatSync(join(tree, path));
    if (!facts.isFile() || facts.size > LIMIT_BYTES) return "";
    return readFileSync(join(tree, path), "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return "";
    throw unreadable(tree, path, error);
  }
}

function entriesOf(tree: string, directory: string): Dirent[] {
  try {
    return readdirSync(join(tree, directory), { withFileTypes: true });
  } catch (error) {
    throw unreadable(tree, directory, error);
  }
}

function linkTarget(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    throw unreadable(path, "", error);
  }
}

function unreadable(tree: string, path: string, cause: unknown): PlatformError {
  return new PlatformError(
    "root_invalid",
    `Cannot use "${tree}" as a root file system: "${join(tree, path)}" cannot be read (${errnoOf(cause) ?? "unknown error"})`,
    { path: tree, fix: "give a directory that holds an unpacked root file system", cause },
  );
}

function inTheWay(tree: string, path: string, ours: readonly string[]): PlatformError {
  const wanted = ours.find((place) => place.startsWith(`${path}/`));
  return new PlatformError(
    "root_invalid",
    `Cannot use "${tree}" as a root file system: its "${path}" is no directory, and the sandbox needs "${wanted}"`,
    { path: join(tree, path), fix: `make "${path}" a directory in the root file system` },
  );
}
