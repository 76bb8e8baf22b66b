import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import fs, { type FileHandle } from "node:fs/promises";
import { join, relative } from "node:path";
import { makeDirectories } from "../kit/make-directories.ts";
import { PlatformError, errnoOf } from "../kit/platform-error.ts";
import { ROOT_NAME } from "./sandbox-view.ts";

/** A package as it lies in the store. */
export interface StoredPackage {
  dir: string;
  /** `sha256:HEX` over relative paths, executable bits and contents */
  digest: string;
}

/** What a package may hold, whatever it comes from. */
export const PACKAGE_LIMITS = { bytes: 2_000_000_000 - 1, entries: 100_000 } as const;
const PIECE_BYTES = 1024 * 1024;

/** An entry of a package: files and directories below it by relative path. */
export type PackageEntry =
  | { kind: "directory"; path: string }
  | { kind: "link"; path: string; target: string }
  | { kind: "file"; path: string };

/**
 * Copies a package into the store under the digest of what was copied, read-only. The digest depends on relative paths,
 * executable bits and bytes alone. Throws `PlatformError` `package_invalid` for links that leave the package, special files
 * and packages of 2 GB; nothing is left in the store then. Links below `rootfs/` may lead anywhere: there they are followed
 * inside the tool's sandbox only.
 */
export async function storePackage(sourceDir: string, storeDir: string): Promise<StoredPackage> {
  const source = await realDirectory(sourceDir);
  makeDirectories(storeDir);
  const known = await digestOf(source, null);
  if (await isStored(join(storeDir, nameOf(known)), known))
    return { dir: join(storeDir, nameOf(known)), digest: `sha256:${known}` };
  const temporary = join(storeDir, `.incoming-${randomBytes(8).toString("hex")}`);
  try {
    await fs.mkdir(temporary, { mode: 0o700 });
    // Hashed again from the very bytes that are written: the source may change meanwhile.
    return await settle(temporary, await digestOf(source, temporary), storeDir);
  } finally {
    await removePackage(temporary);
  }
}

/**
 * Puts a package into the store that `fill` writes into a directory of its own; `fill` may leave nothing else behind. The same
 * rules and the same digest as for a directory that holds these files.
 */
export async function storeFilled(
  storeDir: string,
  fill: (dir: string) => Promise<void>,
): Promise<StoredPackage> {
  makeDirectories(storeDir);
  const temporary = join(storeDir, `.incoming-${randomBytes(8).toString("hex")}`);
  try {
    await fs.mkdir(temporary, { mode: 0o700 });
    await fill(temporary);
    const digest = await digestOf(temporary, null);
    await makeReadOnly(temporary, await entriesOf(temporary));
    return await settle(temporary, digest, storeDir);
  } finally {
    await removePackage(temporary);
  }
}

/** What the store has under a digest, looked through to its last byte; null when it has nothing, or had something damaged. */
export async function findStored(storeDir: string, digest: string): Promise<StoredPackage | null> {
  const hex = digest.replace(/^sha256:/, "");
  const dir = join(storeDir, nameOf(hex));
  return (await isStored(dir, hex)) ? { dir, digest: `sha256:${hex}` } : null;
}

async function settle(temporary: string, digest: string, storeDir: string): Promise<StoredPackage> {
  const dir = join(storeDir, nameOf(digest));
  await moveIntoPlace(temporary, dir, digest);
  return { dir, digest: `sha256:${digest}` };
}

/** Removes a package directory, read-only as it may be. Harmless when there is none. */
export async function removePackage(dir: string): Promise<void> {
  for (const path of await directoriesOf(dir)) await fs.chmod(path, 0o700);
  await fs.rm(dir, { recursive: true, force: true });
}

async function directoriesOf(dir: string): Promise<string[]> {
  const entries = await fs.readdir(dir, { withFileTypes: true }).catch((error: unknown) => {
    if (errnoOf(error) === "ENOENT") return null;
    throw error;
  });
  if (entries === null) return [];
  await fs.chmod(dir, 0o700);
  const inner = entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => directoriesOf(join(dir, entry.name)));
  return [dir, ...(await Promise.all(inner)).flat()];
}

async function realDirectory(sourceDir: string): Promise<string> {
  try {
    const real = await fs.realpath(sourceDir);
    if ((await fs.stat(real)).isDirectory()) return real;
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
  throw new PlatformError("package_missing", `Package "${sourceDir}" is not a directory`, {
    path: sourceDir,
    fix: "set package to the directory with the executable, relative to the manifest",
  });
}

/** Something with this digest's name is there and still is what the name says. A damaged one is removed. */
async function isStored(dir: string, digest: string): Promise<boolean> {
  try {
    await fs.access(dir);
  } catch {
    return false;
  }
  if ((await digestOf(dir, null)) === digest) return true;
  await removePackage(dir);
  return false;
}

async function moveIntoPlace(temporary: string, dir: string, digest: string): Promise<void> {
  try {
    await fs.rename(temporary, dir);
  } catch (error) {
    // Another run stored the same package in the meantime.
    if (
      !["ENOTEMPTY", "EEXIST", "EACCES"].includes(errnoOf(error) ?? "") ||
      !(await isStored(dir, digest))
    )
      throw error;
  }
}

/** The digest of a tree; with `target`, of exactly the bytes that were copied there. */
async function digestOf(source: string, target: string | null): Promise<string> {
  const hash = createHash("sha256");
  const entries = await entriesOf(source);
  await refuseTooLarge(source, entries);
  let left: number = PACKAGE_LIMITS.bytes;
  const say = (...words: string[]): void =>
    void hash.update(words.map((word) => `${Buffer.byteLength(word)}:${word}`).join("") + "\n");
  for (const entry of entries) {
    const to = target === null ? null : join(target, entry.path);
    if (entry.kind === "directory") {
      say("directory", entry.path);
      if (to !== null) await fs.mkdir(to, { mode: 0o700 });
    } else if (entry.kind === "link") {
      say("link", entry.path, entry.target);
      if (to !== null) await fs.symlink(entry.target, to);
    } else {
      const file = await takeFile(join(source, entry.path), to, left);
      left -= file.bytes;
      say("file", entry.path, file.executable ? "x" : "-", file.hash);
    }
  }
  if (target !== null) await makeReadOnly(target, entries);
  return hash.digest("hex");
}

/** Files are already; this closes the directories, the deepest first. */
async function makeReadOnly(dir: string, entries: readonly PackageEntry[]): Promise<void> {
  const directories = entries.filter((entry) => entry.kind === "directory").toReversed();
  for (const { path } of directories) await fs.chmod(join(dir, path), 0o555);
  await fs.chmod(dir, 0o555);
}

/** Sizes alone, so that a huge package is refused before anything of it is read. */
async function refuseTooLarge(source: string, entries: readonly PackageEntry[]): Promise<void> {
  let bytes = 0;
  for (const { kind, path } of entries) {
    if (kind !== "file") continue;
    bytes += (await fs.lstat(join(source, path))).size;
    if (bytes > PACKAGE_LIMITS.bytes) throw tooLarge(join(source, path));
  }
}

function tooLarge(path: string): PlatformError {
  return invalid(
    path,
    `makes the package larger than ${PACKAGE_LIMITS.bytes} bytes (2 GB)`,
    "package only what the tool needs; large data belongs into the workspace",
  );
}

/**
 * What a package holds, for one who writes it into an image. Throws `package_invalid` as `storePackage` does, and for names that
 * a layer has for something else: `.wh.NAME` says there that NAME is removed.
 */
export async function entriesOfPackage(dir: string): Promise<PackageEntry[]> {
  const entries = await entriesOf(dir);
  const whiteout = entries.find(({ path }) => /(?:^|\/)\.wh\./.test(path));
  if (whiteout !== undefined)
    throw invalid(
      join(dir, whiteout.path),
      'has a name that begins with ".wh.", which in an image says that a file is removed',
      "rename it, or leave it out of the package",
    );
  return entries;
}

/** Every entry below a directory, parents first, in an order that does not depend on the file system. */
async function entriesOf(
  root: string,
  path = "",
  count: { left: number } = { left: PACKAGE_LIMITS.entries },
): Promise<PackageEntry[]> {
  const found: PackageEntry[] = [];
  const listed = await fs.readdir(join(root, path), { withFileTypes: true });
  for (const entry of listed.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    count.left -= 1;
    if (count.left < 0)
      throw invalid(
        root,
        `holds more than ${PACKAGE_LIMITS.entries} entries`,
        "package only what the tool needs",
      );
    const inner = path === "" ? entry.name : `${path}/${entry.name}`;
    if (inner.includes("\u{FFFD}"))
      throw invalid(join(root, inner), "has a name that is not UTF-8", "rename it");
    if (entry.isDirectory())
      found.push({ kind: "directory", path: inner }, ...(await entriesOf(root, inner, count)));
    else if (entry.isFile()) found.push({ kind: "file", path: inner });
    else if (entry.isSymbolicLink())
      found.push({ kind: "link", path: inner, target: await linkTarget(root, inner) });
    else
      throw invalid(
        join(root, inner),
        "is neither a file, a directory nor a link",
        "remove it from the package",
      );
  }
  return found;
}

async function linkTarget(root: string, path: string): Promise<string> {
  const full = join(root, path);
  const target = await fs.readlink(full);
  if (path.startsWith(`${ROOT_NAME}/`)) return target;
  const real = await fs.realpath(full).catch(() => null);
  const outside = real === null || relative(root, real).startsWith("..");
  if (target.startsWith("/") || outside)
    throw invalid(
      full,
      `is a link that ${real === null ? "leads nowhere" : "leaves the package"}`,
      "put the file itself into the package",
    );
  return target;
}

/** Reads a file once: hashes it and, with `to`, writes the same bytes. */
async function takeFile(
  from: string,
  to: string | null,
  limit: number,
): Promise<{ hash: string; executable: boolean; bytes: number }> {
  const source = await openSource(from);
  let target: FileHandle | null = null;
  try {
    const stat = await source.stat();
    if (!stat.isFile())
      throw invalid(
        from,
        "is not a regular file any more",
        "leave the package alone while a run starts",
      );
    const executable = (stat.mode & 0o111) !== 0;
    if (to !== null)
      target = await fs.open(to, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    const hash = createHash("sha256");
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    let bytes = 0;
    for (let count = -1; count !== 0;) {
      count = (await source.read(piece, 0, PIECE_BYTES, null)).bytesRead;
      bytes += count;
      if (bytes > limit) throw tooLarge(from);
      hash.update(piece.subarray(0, count));
      await target?.writeFile(piece.subarray(0, count));
    }
    await target?.chmod(executable ? 0o555 : 0o444);
    return { hash: hash.digest("hex"), executable, bytes };
  } finally {
    await target?.close();
    await source.close();
  }
}

async function openSource(path: string): Promise<FileHandle> {
  try {
    return await fs.open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (!["EACCES", "EPERM", "ELOOP", "ENXIO"].includes(errnoOf(error) ?? "")) throw error;
    throw invalid(path, `cannot be read (${errnoOf(error)})`, "make it readable, or leave it out");
  }
}

function nameOf(digest: string): string {
  return `sha256-${digest}`;
}

function invalid(path: string, problem: string, fix: string): PlatformError {
  return new PlatformError("package_invalid", `Package is refused: "${path}" ${problem}`, {
    path,
    fix,
  });
}
