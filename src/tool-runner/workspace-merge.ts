import type { FileHandle } from "node:fs/promises";
import * as z from "zod";
import type { OpenedDirectory } from "../kit/opened-directory.ts";
import { hashEntry, transfer, type Tree } from "./workspace-copy.ts";

const Hash = z.string().regex(/^[0-9a-f]{64}$/);

/** One change that a tool made: from the hash at copy (null: there was no file) to its own (null: it removed the file). */
export const MergeChange = z.strictObject({
  path: z.string(),
  base: Hash.nullable(),
  own: Hash.nullable(),
  executable: z.boolean(),
});
export type MergeChange = z.infer<typeof MergeChange>;

/** What a tool changed in its private copy, in an order that can be applied. Links and special files are no changes. */
export function changesOf(base: Tree, own: Tree): MergeChange[] {
  const changes: MergeChange[] = [];
  for (const [path, file] of own.files) {
    const before = base.files.get(path);
    if (before?.hash !== file.hash)
      changes.push({
        path,
        base: before?.hash ?? null,
        own: file.hash,
        executable: file.executable,
      });
  }
  for (const [path, file] of base.files) {
    const stillThere = own.files.has(path) || isCovered(own.others, path);
    if (!stillThere) changes.push({ path, base: file.hash, own: null, executable: false });
  }
  return changes.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Files whose present content is neither what the tool started from nor what it made of it, and files it may not touch. */
export async function conflictsOf(
  workspace: OpenedDirectory,
  changes: readonly MergeChange[],
  protectedPaths: ReadonlySet<string>,
): Promise<string[]> {
  const conflicts: string[] = [];
  for (const change of changes) {
    if (isCovered(protectedPaths, change.path) || (await isConflict(workspace, change)))
      conflicts.push(change.path);
  }
  return conflicts;
}

/**
 * Brings one change into the workspace: a temporary file and a rename beneath the opened directory. Doing it again after a
 * crash is harmless. Returns false when a conflict came up in the meantime; the file is then left as it is.
 */
export async function applyChange(
  workspace: OpenedDirectory,
  own: OpenedDirectory,
  change: MergeChange,
  temporaryName: string,
): Promise<boolean> {
  const parts = change.path.split("/");
  const name = parts.pop() ?? "";
  if (change.own === null) return removeFile(workspace, parts, name, change);
  await using directory = await openOrMake(workspace, parts);
  if (directory === null) return false;
  if (await directory.look(temporaryName)) await directory.unlink(temporaryName);
  await using source = await own.descend(parts);
  const file = await source?.openFile(name);
  if (file === undefined || file === null) return (await hashEntry(directory, name)) === change.own;
  try {
    const mode = await modeFor(directory, name, change.executable);
    const temporary = await directory.createFile(temporaryName, mode);
    try {
      await transfer(file, temporary, () => undefined);
      await giveToOwner(temporary, directory, name);
      await temporary.sync();
    } finally {
      await temporary.close();
    }
  } finally {
    await file.close();
  }
  // Looked at once more, as late as can be: the agent works in the same directory.
  if (await isConflict(workspace, change)) {
    await directory.unlink(temporaryName);
    return false;
  }
  await directory.rename(temporaryName, name);
  await directory.sync();
  return true;
}

async function isConflict(workspace: OpenedDirectory, change: MergeChange): Promise<boolean> {
  const parts = change.path.split("/");
  const name = parts.pop() ?? "";
  await using directory = await workspace.descend(parts);
  // No directory: fine for a new file unless something that is no directory stands in the way.
  if (directory === null)
    return change.base !== null ? change.own !== null : isBlocked(workspace, parts);
  const present = await directory.look(name);
  if (present === null) return change.base !== null && change.own !== null;
  const hash = await hashEntry(directory, name);
  return hash === null || (hash !== change.base && hash !== change.own);
}

async function isBlocked(workspace: OpenedDirectory, parts: readonly string[]): Promise<boolean> {
  for (let count = 0; count < parts.length; count += 1) {
    await using parent = await workspace.descend(parts.slice(0, count));
    const entry = await parent?.look(parts[count] ?? "");
    if (entry === undefined) return true;
    if (entry === null) return false;
    if (!entry.isDirectory()) return true;
  }
  return false;
}

async function removeFile(
  workspace: OpenedDirectory,
  parts: readonly string[],
  name: string,
  change: MergeChange,
): Promise<boolean> {
  await using directory = await workspace.descend(parts);
  if (directory === null || (await directory.look(name)) === null) return true;
  if ((await hashEntry(directory, name)) !== change.base) return false;
  await directory.unlink(name);
  await directory.sync();
  return true;
}

async function openOrMake(
  root: OpenedDirectory,
  parts: readonly string[],
): Promise<OpenedDirectory | null> {
  for (let count = 1; count <= parts.length; count += 1) {
    await using parent = await root.descend(parts.slice(0, count - 1));
    if (parent === null) return null;
    const name = parts[count - 1] ?? "";
    if ((await parent.look(name)) !== null) continue;
    await parent.makeDirectory(name, 0o755);
    await using made = await parent.openDirectory(name);
    const owner = await parent.stat();
    await made.giveTo(owner.uid, owner.gid);
  }
  return root.descend(parts);
}

/** An existing file keeps its 0777 bits; 07000 bits never pass. */
async function modeFor(
  directory: OpenedDirectory,
  name: string,
  executable: boolean,
): Promise<number> {
  const present = await directory.look(name);
  if (present !== null) return present.mode & 0o777;
  return executable ? 0o755 : 0o644;
}

/** Only root can and need do this: what it writes for others must stay theirs. */
async function giveToOwner(
  file: FileHandle,
  directory: OpenedDirectory,
  name: string,
): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const owner = (await directory.look(name)) ?? (await directory.stat());
  await file.chown(owner.uid, owner.gid);
}

/** Whether a path or one of its directories is in the set. */
function isCovered(paths: ReadonlySet<string>, path: string): boolean {
  for (let at = path.length; at > 0; at = path.lastIndexOf("/", at - 1))
    if (paths.has(path.slice(0, at))) return true;
  return false;
}
