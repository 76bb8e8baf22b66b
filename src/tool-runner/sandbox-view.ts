import { lstatSync, readlinkSync, statSync, type Stats } from "node:fs";
import { posix } from "node:path";
import { errnoOf } from "../kit/platform-error.ts";

/** Where a package lies in the sandbox. */
export const PACKAGE_DIR = "/opt/tool";
/** A directory of this name in a package is the tool's root file system. */
export const ROOT_NAME = "rootfs";
/** The tool's whole search path, in every sandbox. */
export const TOOL_PATH = "/usr/local/bin:/usr/bin:/bin";

/** What of the host a tool's sandbox is made of. */
export interface SandboxView {
  /** the directory that is `/` inside; null: the host's /usr and a minimal /etc */
  readonly root: string | null;
  /** the directory that lies at `/opt/tool`; null: nothing, or the root's own */
  readonly files: string | null;
}

/** A path inside, followed to its end: where it is on the host, and what it is. */
export interface Found {
  readonly host: string;
  readonly path: string;
  readonly stats: Stats;
}

const SYSTEM_PLACES = [
  "/usr",
  "/bin",
  "/sbin",
  "/lib",
  "/lib32",
  "/lib64",
  "/libx32",
  "/etc/alternatives",
];
const MAX_LINKS = 40;

/** The sandbox of a package: its `rootfs/` is `/`, its files lie at `/opt/tool` unless the root brings an `/opt/tool` of its own. */
export function viewOf(packageDir: string | null): SandboxView {
  if (packageDir === null) return { root: null, files: null };
  const root = `${packageDir}/${ROOT_NAME}`;
  if (!isDirectory(root)) return { root: null, files: packageDir };
  return { root, files: isDirectory(`${root}${PACKAGE_DIR}`) ? null : packageDir };
}

/** Follows a path as a program in the sandbox would, links included; null when nothing is there. Nothing outside is looked at. */
export function lookUp(view: SandboxView, path: string): Found | null {
  let links = 0;
  // The next name is the last.
  const pending = namesOf(posix.normalize(path));
  let at = "/";
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    at = posix.join(at, name);
    const host = hostPathOf(view, at);
    const stats = host === null ? null : lookAt(host);
    if (stats === null && isParentOfPlace(view, at)) continue;
    if (host === null || stats === null) return null;
    if (stats.isSymbolicLink()) {
      links += 1;
      if (links > MAX_LINKS) return null;
      pending.push(...namesOf(posix.resolve(posix.dirname(at), readlinkSync(host))));
      at = "/";
    } else if (pending.length === 0) return { host, path: at, stats };
    else if (!stats.isDirectory()) return null;
  }
  return null;
}

function namesOf(path: string): string[] {
  return path.split("/").filter(Boolean).toReversed();
}

function hostPathOf({ root, files }: SandboxView, path: string): string | null {
  if (files !== null && (path === PACKAGE_DIR || path.startsWith(`${PACKAGE_DIR}/`)))
    return files + path.slice(PACKAGE_DIR.length);
  if (root !== null) return root + path;
  return SYSTEM_PLACES.some((place) => path === place || path.startsWith(`${place}/`))
    ? path
    : null;
}

/** A directory that the sandbox makes so that a place has somewhere to lie. */
function isParentOfPlace({ root, files }: SandboxView, path: string): boolean {
  const places = [
    ...(root === null ? SYSTEM_PLACES : []),
    ...(files === null ? [] : [PACKAGE_DIR]),
  ];
  return places.some((place) => place.startsWith(`${path}/`));
}

function lookAt(path: string): Stats | null {
  try {
    return lstatSync(path);
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES", "ENAMETOOLONG"].includes(errnoOf(error) ?? "")) return null;
    throw error;
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
