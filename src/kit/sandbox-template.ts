import { statSync } from "node:fs";
import { errnoOf, PlatformError } from "./platform-error.ts";
import { INIT_DIR, type InsideIdentity, type SandboxPlan } from "./sandbox-arguments.ts";
import { layOut } from "./sandbox-layout.ts";

/** All of a device that a tool may see; it has no terminal, so there is none. */
const DEVICES = ["null", "zero", "full", "random", "urandom"];
const DEVICE_LINKS = [
  ["/dev/fd", "/proc/self/fd"],
  ["/dev/stdin", "/proc/self/fd/0"],
  ["/dev/stdout", "/proc/self/fd/1"],
  ["/dev/stderr", "/proc/self/fd/2"],
] as const;
/** `enum bind_flag` in src/native/mounts.h. */
const DEVICE = 4;

/** What makes two plans share one read-only root: all of it but the bytes of shared files, which count by who they are. */
export function templateKey(plan: SandboxPlan, identity: InsideIdentity): string {
  return JSON.stringify([
    plan.root.kind === "tree" ? plan.root.path : "",
    [identity.uid, identity.gid, plan.hostname, plan.env["HOME"]],
    plan.tmpfs.map(({ path }) => path),
    placesOf(plan),
    plan.files.map(({ path, data, mode, shared }) => [
      path,
      shared === true ? [mode, numberOf(data)] : null,
    ]),
  ]);
}

/**
 * A plan's root as the text that tool-spawner builds it from once, in its own copy for every sandbox: links, files, places to
 * mount on, then binds. Throws `PlatformError` `root_invalid` when a tree cannot be a root.
 */
export function templateText(plan: SandboxPlan, identity: InsideIdentity): Buffer {
  const layout = layOut(plan, identity);
  const parts: Buffer[] = [];
  const add = (kind: string, head: number[], ...texts: string[]): void => {
    parts.push(Buffer.from(kind, "latin1"), Buffer.from(head));
    for (const text of texts) parts.push(Buffer.from(`${text}\0`));
  };
  for (const { path, target } of layout.links) add("l", [], target, path);
  for (const [path, target] of DEVICE_LINKS) add("l", [], target, path);
  const later = new Set(plan.files.filter(({ shared }) => shared !== true).map(({ path }) => path));
  for (const { path, data, mode } of layout.files) {
    if (later.has(path)) {
      add("p", [], path);
      continue;
    }
    const length = Buffer.alloc(4);
    length.writeUInt32LE(data.length);
    add("f", [mode & 0xff, mode >> 8], path);
    parts.push(length, data);
  }
  const directories = ["/proc", "/dev/shm", INIT_DIR, ...plan.tmpfs.map(({ path }) => path)];
  for (const path of directories) add("d", [], path);
  for (const [path, kind] of placesOf(plan)) add(kind, [], path);
  for (const { source, target } of [...layout.hostBinds, ...layout.treeBinds])
    add("b", [0], source, target);
  for (const name of DEVICES) {
    // Reads zeros as well, but has no mapping: a shared one of /dev/zero is memory that no process's size shows.
    const source = name === "zero" ? "full" : name;
    add("b", [DEVICE], `/dev/${source}`, `/dev/${name}`);
  }
  return Buffer.concat(parts);
}

/** Where the plan's binds go, as directories or files; what lies in another bind or a tmpfs is found or made there. */
function placesOf(plan: SandboxPlan): [path: string, kind: "d" | "p"][] {
  const mounted = [
    ...plan.tmpfs.map(({ path }) => path),
    ...plan.binds.map(({ target }) => target),
  ];
  return plan.binds
    .filter(({ target }) => !mounted.some((place) => target.startsWith(`${place}/`)))
    .map(({ source, target }) => [target, isDirectory(source) ? "d" : "p"]);
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    throw new PlatformError(
      "sandbox_start_failed",
      `Sandbox is refused: "${path}" cannot be seen (${errnoOf(error) ?? "unknown error"})`,
      { path, fix: "check that the path exists and that you may read it", cause: error },
    );
  }
}

const numbers = new WeakMap<Buffer, number>();
let lastNumber = 0;

/** Buffers of shared files are not changed, so who they are stands for what they hold. */
function numberOf(data: Buffer): number {
  const known = numbers.get(data);
  if (known !== undefined) return known;
  lastNumber += 1;
  numbers.set(data, lastNumber);
  return lastNumber;
}
