import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { PlatformError, errnoOf } from "../kit/platform-error.ts";
import type { OpenedDirectory } from "../kit/opened-directory.ts";

/** A regular file of a tree: relative path (latin1, parts joined by `/`) to content hash and whether it may be executed. */
export type TreeFiles = Map<string, { hash: string; executable: boolean }>;
export interface Tree {
  files: TreeFiles;
  directories: Set<string>;
  /** links, special files, and what could not be read: there, but never copied */
  others: Set<string>;
}

/** How large a workspace a tool with credentials may have; a larger one is refused, not copied in part. */
export const WORKSPACE_LIMITS = { bytes: 1024 ** 3, entries: 100_000, depth: 128 } as const;

const PIECE_BYTES = 256 * 1024;

class Budget {
  #bytes: number = WORKSPACE_LIMITS.bytes;
  #entries: number = WORKSPACE_LIMITS.entries;

  spend(entries: number, bytes: number): void {
    this.#entries -= entries;
    this.#bytes -= bytes;
    this.require(0);
  }

  /** Throws unless there is room for so many bytes more: a sparse file says its size at once and takes hours to read. */
  require(bytes: number): void {
    if (this.#entries < 0 || this.#bytes < bytes) {
      throw new PlatformError(
        "workspace_too_large",
        `Workspace is too large to be copied for a tool with credentials: expected at most ${WORKSPACE_LIMITS.entries} files and ${WORKSPACE_LIMITS.bytes / 1024 ** 2} MiB`,
        { fix: "give the tool workspace: none, or the agent a smaller workspace" },
      );
    }
  }
}

/**
 * Copies regular files and directories from one directory into an empty one. Links, special files and what may not be read
 * are left out. Files get mode 0644 or 0755, whatever they had.
 */
export async function copyTree(
  from: OpenedDirectory,
  to: OpenedDirectory,
  signal: AbortSignal,
): Promise<Tree> {
  return walk(from, to, signal);
}

/** Hashes the regular files of a tree. */
export async function hashTree(directory: OpenedDirectory, signal: AbortSignal): Promise<Tree> {
  return walk(directory, null, signal);
}

/** The hash of a regular file; null when the entry is anything else. */
export async function hashEntry(directory: OpenedDirectory, name: string): Promise<string | null> {
  const file = await directory.openFile(name);
  if (file === null) return null;
  try {
    return await transfer(file, null, () => undefined);
  } finally {
    await file.close();
  }
}

async function walk(
  from: OpenedDirectory,
  to: OpenedDirectory | null,
  signal: AbortSignal,
): Promise<Tree> {
  const tree: Tree = { files: new Map(), directories: new Set(), others: new Set() };
  await walkDirectory(from, to, [], { tree, budget: new Budget(), signal });
  return tree;
}

interface Walk {
  tree: Tree;
  budget: Budget;
  signal: AbortSignal;
}

async function walkDirectory(
  from: OpenedDirectory,
  to: OpenedDirectory | null,
  path: readonly string[],
  walk: Walk,
): Promise<void> {
  if (path.length > WORKSPACE_LIMITS.depth) {
    throw new PlatformError(
      "workspace_too_large",
      `Workspace is nested deeper than ${WORKSPACE_LIMITS.depth} directories`,
      {
        fix: "give the tool workspace: none",
      },
    );
  }
  for await (const entry of from.entries()) {
    walk.signal.throwIfAborted();
    walk.budget.spend(1, 0);
    const relative = [...path, entry.name];
    const known = entry.isDirectory()
      ? await walkInner(from, to, relative, walk)
      : entry.isFile() && (await walkFile(from, to, relative, walk));
    if (!known) walk.tree.others.add(relative.join("/"));
  }
}

/** False when the entry is no directory by now or may not be read. */
async function walkInner(
  from: OpenedDirectory,
  to: OpenedDirectory | null,
  path: readonly string[],
  walk: Walk,
): Promise<boolean> {
  const name = path.at(-1) ?? "";
  await using inner = await openIfThere(from, name);
  if (inner === null) return false;
  walk.tree.directories.add(path.join("/"));
  await to?.makeDirectory(name, 0o755);
  await using innerTo = to === null ? null : await to.openDirectory(name);
  await walkDirectory(inner, innerTo, path, walk);
  return true;
}

async function walkFile(
  from: OpenedDirectory,
  to: OpenedDirectory | null,
  path: readonly string[],
  walk: Walk,
): Promise<boolean> {
  const name = path.at(-1) ?? "";
  const file = await from.openFile(name);
  if (file === null) return false;
  try {
    const { mode, size } = await file.stat();
    walk.budget.require(size);
    const executable = (mode & 0o100) !== 0;
    const hash = await copyFile(file, to, name, executable, walk);
    walk.tree.files.set(path.join("/"), { hash, executable });
    return true;
  } finally {
    await file.close();
  }
}

/** A directory that was listed may be gone or be a link by now: the agent works on while we copy. */
async function openIfThere(from: OpenedDirectory, name: string): Promise<OpenedDirectory | null> {
  try {
    return await from.openDirectory(name);
  } catch (error) {
    if (["ENOENT", "ELOOP", "ENOTDIR", "EACCES"].includes(errnoOf(error) ?? "")) return null;
    throw error;
  }
}

async function copyFile(
  file: FileHandle,
  to: OpenedDirectory | null,
  name: string,
  executable: boolean,
  walk: Walk,
): Promise<string> {
  const target = to === null ? null : await to.createFile(name, executable ? 0o755 : 0o644);
  try {
    return await transfer(file, target, (bytes) => walk.budget.spend(0, bytes));
  } finally {
    await target?.close();
  }
}

/** Reads a file to its end, writes it to `target` if there is one, and returns the hash of just these bytes. */
export async function transfer(
  file: FileHandle,
  target: FileHandle | null,
  onBytes: (bytes: number) => void,
): Promise<string> {
  const hash = createHash("sha256");
  const piece = Buffer.allocUnsafe(PIECE_BYTES);
  for (;;) {
    const { bytesRead } = await file.read(piece, 0, PIECE_BYTES, null);
    if (bytesRead === 0) return hash.digest("hex");
    onBytes(bytesRead);
    const bytes = piece.subarray(0, bytesRead);
    hash.update(bytes);
    await target?.writeFile(bytes);
  }
}
