import fs from "node:fs/promises";
import { basename, join } from "node:path";
import * as z from "zod";
import { parseJson } from "../kit/json-lines.ts";
import { PlatformError, errnoOf } from "../kit/platform-error.ts";
import { type RedactionTable, Redactor } from "../kit/redactor.ts";
import { OpenedDirectory } from "../kit/opened-directory.ts";
import { removeLeftTree } from "./remove-left-tree.ts";
import { copyTree, hashTree, type Tree } from "./workspace-copy.ts";
import { MergeChange, applyChange, changesOf, conflictsOf } from "./workspace-merge.ts";

/** What became of the changes that a tool made in its private copy of the workspace. */
export interface MergeResult {
  /** in the order of their paths */
  merged: readonly MergeChange[];
  /** paths whose present content is not what the tool started from; with any of them nothing was merged */
  conflicts: string[];
  /** paths whose new content holds a credential; with any of them nothing was merged or kept */
  leaks: string[];
  /** where the tool's version of the changed files lies, when it was not merged */
  keptAt: string | null;
}

export interface MergeOptions {
  /** relative paths that no tool may change */
  protectedPaths: ReadonlySet<string>;
  secrets: RedactionTable | null;
  /** directory to keep an unmerged version in; made when needed */
  keepDir: string;
}

const Journal = z.strictObject({
  workspace: z.string().startsWith("/"),
  changes: z.array(MergeChange),
});

/** A tool's own copy of the workspace, in the call's directory. Disposing it removes the directory. */
export class PrivateWorkspace implements AsyncDisposable {
  /** what the sandbox binds */
  readonly path: string;
  readonly #callDir: string;
  readonly #workspace: string;
  readonly #base: Tree;

  private constructor(callDir: string, workspace: string, base: Tree) {
    this.path = join(callDir, "copy");
    this.#callDir = callDir;
    this.#workspace = workspace;
    this.#base = base;
  }

  /** what the copy held before the tool saw it */
  get base(): Tree {
    return this.#base;
  }

  /** Copies the workspace below `callDir`. Throws `PlatformError` `workspace_too_large`. */
  static async open(
    workspace: string,
    callDir: string,
    signal: AbortSignal,
  ): Promise<PrivateWorkspace> {
    await fs.mkdir(join(callDir, "copy"), { recursive: true, mode: 0o700 });
    try {
      await using from = await OpenedDirectory.openReal(workspace);
      await using to = await OpenedDirectory.open(join(callDir, "copy"));
      return new PrivateWorkspace(callDir, workspace, await copyTree(from, to, signal));
    } catch (error) {
      await removeLeftTree(callDir);
      throw error;
    }
  }

  /** Brings the tool's changes into the workspace, all or none of them. Call it once the tool is dead. */
  async merge(options: MergeOptions, signal: AbortSignal): Promise<MergeResult> {
    await using workspace = await OpenedDirectory.openReal(this.#workspace);
    await using own = await OpenedDirectory.open(this.path);
    const tree = await hashTree(own, signal);
    const changes = changesOf(this.#base, tree);
    const nothing: MergeResult = { merged: [], conflicts: [], leaks: [], keptAt: null };
    const leaks = options.secrets === null ? [] : await leaksOf(own, changes, options.secrets);
    if (leaks.length > 0) return { ...nothing, leaks };
    const conflicts = await conflictsOf(workspace, changes, options.protectedPaths);
    if (conflicts.length > 0)
      return { ...nothing, conflicts, keptAt: await keep(own, changes, options.keepDir) };
    if (changes.length > 0) await this.#writeJournal(changes);
    const late = await applyAll(workspace, own, changes, basename(this.#callDir));
    if (late.length > 0)
      return {
        ...nothing,
        merged: changes.filter(({ path }) => !late.includes(path)),
        conflicts: late,
        keptAt: await keep(own, changes, options.keepDir),
      };
    await matchDirectories(workspace, this.#base, tree);
    return { ...nothing, merged: changes };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removeLeftTree(this.#callDir);
  }

  /** On disk before the first change, so that a crash in the middle is finished by `finishMerges`. */
  async #writeJournal(changes: MergeChange[]): Promise<void> {
    const temporary = join(this.#callDir, "merge.tmp");
    const journal: z.infer<typeof Journal> = { workspace: this.#workspace, changes };
    await fs.writeFile(temporary, JSON.stringify(journal), { mode: 0o600, flush: true });
    await fs.rename(temporary, join(this.#callDir, "merge.json"));
  }
}

/** Finishes merges that a crash interrupted and removes what calls left behind. Returns the paths that could not be merged. */
export async function finishMerges(callsDir: string): Promise<string[]> {
  const unmerged: string[] = [];
  for (const name of await fs.readdir(callsDir).catch(() => [])) {
    const callDir = join(callsDir, name);
    const text = await fs.readFile(join(callDir, "merge.json"), "utf8").catch(() => null);
    if (text !== null) {
      const { workspace: path, changes } = parseJson("a merge journal", Journal, text);
      await using workspace = await OpenedDirectory.openReal(path);
      await using own = await OpenedDirectory.open(join(callDir, "copy"));
      unmerged.push(...(await applyAll(workspace, own, changes, name)));
    }
    await removeLeftTree(callDir);
  }
  return unmerged;
}

async function applyAll(
  workspace: OpenedDirectory,
  own: OpenedDirectory,
  changes: readonly MergeChange[],
  call: string,
): Promise<string[]> {
  const late: string[] = [];
  for (const change of changes) {
    // The same name again after a crash: the leftover of the same change is found and removed.
    if (!(await applyChange(workspace, own, change, temporaryName(call)))) late.push(change.path);
  }
  return late;
}

function temporaryName(call: string): string {
  return `.agentkube-${call}.tmp`;
}

/** Directories that the tool made or emptied; one that others filled meanwhile stays. */
async function matchDirectories(workspace: OpenedDirectory, base: Tree, own: Tree): Promise<void> {
  for (const path of [...own.directories].sort()) {
    if (base.directories.has(path)) continue;
    await inParent(workspace, path, (parent, name) => parent.makeDirectory(name, 0o755));
  }
  for (const path of [...base.directories].sort().toReversed()) {
    if (own.directories.has(path) || own.others.has(path) || own.files.has(path)) continue;
    await inParent(workspace, path, (parent, name) => parent.removeDirectory(name));
  }
}

async function inParent(
  root: OpenedDirectory,
  path: string,
  work: (parent: OpenedDirectory, name: string) => Promise<void>,
): Promise<void> {
  const parts = path.split("/");
  const name = parts.pop() ?? "";
  await using parent = await root.descend(parts);
  if (parent === null) return;
  try {
    await work(parent, name);
  } catch (error) {
    if (!["EEXIST", "ENOENT", "ENOTEMPTY", "ENOTDIR"].includes(errnoOf(error) ?? "")) throw error;
  }
}

async function leaksOf(
  own: OpenedDirectory,
  changes: readonly MergeChange[],
  secrets: RedactionTable,
): Promise<string[]> {
  const leaks: string[] = [];
  for (const change of changes) {
    if (change.own !== null && (await holdsSecret(own, change.path, secrets)))
      leaks.push(change.path);
  }
  return leaks;
}

async function holdsSecret(
  own: OpenedDirectory,
  path: string,
  secrets: RedactionTable,
): Promise<boolean> {
  const redactor = new Redactor(secrets);
  // A name can carry a secret as well as bytes can.
  redactor.push(Buffer.from(`${path}\n`, "latin1"));
  const parts = path.split("/");
  const name = parts.pop() ?? "";
  await using directory = await own.descend(parts);
  const file = await directory?.openFile(name);
  if (file === undefined || file === null) return true;
  try {
    const piece = Buffer.allocUnsafe(256 * 1024);
    for (;;) {
      const { bytesRead } = await file.read(piece, 0, piece.length, null);
      if (bytesRead === 0) return redactor.masked > 0;
      redactor.push(piece.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

/** Keeps the tool's version of the files it changed, for a person to look at. */
async function keep(
  own: OpenedDirectory,
  changes: readonly MergeChange[],
  keepDir: string,
): Promise<string> {
  await fs.mkdir(keepDir, { recursive: true, mode: 0o700 });
  await using target = await OpenedDirectory.open(keepDir);
  for (const change of changes) {
    if (
      change.own !== null &&
      !(await applyChange(target, own, { ...change, base: null }, temporaryName("kept")))
    )
      throw new PlatformError(
        "workspace_keep_failed",
        `Cannot keep the tool's version in "${keepDir}"`,
        { path: keepDir },
      );
  }
  return keepDir;
}
