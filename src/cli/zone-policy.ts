import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import type { AgentSpec } from "../protocol/agent-manifest.ts";
import type { Bind } from "../protocol/run-spec.ts";

/** A path of the host that zone A would see, and what for, in words for messages. */
export interface Candidate {
  readonly what: string;
  readonly path: string;
}
/** A path that zone A must never see or change. */
export type Guarded = Candidate;

/** HOME inside zone A. */
const ZONE_HOME = "/home/agent";

/** Directories that a run must not make its own: the system's, and those that zone A has private ones of. */
const SYSTEM_WHOLE = new Set(
  "/ /bin /boot /dev /etc /home /lib /lib32 /lib64 /opt /proc /run /sbin /sys /tmp /usr /usr/local /var /var/run /var/tmp".split(
    " ",
  ),
);
const NEVER_BELOW = ["/proc", "/sys", "/dev", "/opt/agentkube"];

/** Directories of a person that hold much more than one program: never bound whole as a runtime's tree. */
export function neverWhole(
  env: Readonly<Record<string, string | undefined>>,
  home: string,
): string[] {
  const xdg = [
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
  ]
    .map((name) => env[name] ?? "")
    .filter((dir) => dir.startsWith("/"));
  const usual = [".config", ".cache", ".local", ".local/share", ".local/state", ".local/bin"];
  return [
    home,
    ...xdg,
    ...usual.map((dir) => join(home, dir)),
    "/usr/local",
    "/usr",
    "/opt",
    "/etc",
  ];
}

/** The real path of the workspace. Throws a refusal when it is missing, no directory, or a directory of the system. */
export function resolveWorkspace(given: string, cwd: string): string {
  const path = resolve(cwd, given);
  const real = realPathOf("workspace", path);
  if (!statSync(real).isDirectory())
    throw new PlatformError("usage", `Cannot use workspace "${path}": expected a directory`, {
      path,
    });
  refuseSystem("workspace", real);
  return real;
}

/** The binds of declared mounts: each at its own path, and below the agent's HOME as well when it lies in the user's. */
export function mountBinds(mounts: NonNullable<AgentSpec["mounts"]>, home: string): Bind[] {
  return mounts.flatMap((mount) => {
    const path =
      mount.path === "~" || mount.path.startsWith("~/")
        ? join(home, mount.path.slice(1))
        : mount.path;
    if (!path.startsWith("/"))
      throw new PlatformError(
        "invalid_manifest",
        `Cannot use mount "${mount.path}": expected a path that begins with / or ~/`,
        { path: mount.path, fix: "write the whole path in spec.mounts" },
      );
    const target = resolve(path);
    const source = realPathOf("mount", target);
    refuseSystem("mount", source);
    refuseSystem("mount", target);
    const bind: Bind = { source, target, mode: mount.mode };
    if (!isBelow(target, home)) return [bind];
    const inHome = join(ZONE_HOME, target.slice(home.length));
    return inHome === target ? [bind] : [bind, { ...bind, target: inHome }];
  });
}

/** Throws a refusal, with both paths, when a candidate contains, equals or lies in a guarded path. */
export function refuseOverlaps(
  candidates: readonly Candidate[],
  guarded: readonly Guarded[],
): void {
  for (const candidate of candidates) {
    for (const guard of guarded) {
      const relation =
        candidate.path === guard.path
          ? "is"
          : isBelow(guard.path, candidate.path)
            ? "contains"
            : isBelow(candidate.path, guard.path)
              ? "lies in"
              : null;
      if (relation === null) continue;
      throw new PlatformError(
        guard.what.startsWith("secret") ? "secret_exposed" : "policy",
        `Cannot show ${candidate.what} "${candidate.path}" to the agent: it ${relation} the ${guard.what} "${guard.path}"`,
        { path: guard.path, fix: fixFor(candidate, guard) },
      );
    }
  }
}

function fixFor(candidate: Candidate, guard: Guarded): string {
  const other =
    candidate.what === "workspace"
      ? "give another directory with --workspace DIR"
      : `leave the ${candidate.what} out`;
  if (guard.what.startsWith("secret"))
    return `move the secret out of "${candidate.path}", or ${other}`;
  if (guard.what === "data directory")
    return `${other}, or move the data directory with --data DIR`;
  return other;
}

/** Throws a refusal when a listening socket of the host lies in (or is) a candidate: reaching it would leave the zone. */
export function refuseSockets(
  candidates: readonly Candidate[],
  listening: readonly string[],
): void {
  for (const candidate of candidates) {
    const socket = listening.find(
      (path) => path === candidate.path || isBelow(path, candidate.path),
    );
    if (socket === undefined) continue;
    throw new PlatformError(
      "policy",
      `Cannot show ${candidate.what} "${candidate.path}" to the agent: a program of this machine listens on the socket "${socket}" in it`,
      {
        path: socket,
        fix:
          candidate.what === "workspace"
            ? "end that program, or give another directory with --workspace DIR"
            : `leave the ${candidate.what} out, or name a smaller path`,
      },
    );
  }
}

/** The paths of listening unix sockets in the text of `/proc/net/unix`. Abstract and unnamed ones have no path. */
export function listeningSockets(table: string): string[] {
  return table.split("\n").flatMap((line) => {
    const match =
      /^[0-9a-f]+: [0-9A-F]+ [0-9A-F]+ ([0-9A-F]+) [0-9A-F]+ [0-9A-F]+ +[0-9]+ (\/.*)$/i.exec(line);
    const [, flags = "0", path] = match ?? [];
    // __SO_ACCEPTCON
    return path !== undefined && (Number.parseInt(flags, 16) & 0x1_0000) !== 0 ? [path] : [];
  });
}

/** The same from the running kernel, with links of the directories followed. Throws when it cannot be read. */
export function readListeningSockets(): string[] {
  let table: string;
  try {
    table = readFileSync("/proc/net/unix", "utf8");
  } catch (error) {
    throw new PlatformError(
      "policy",
      `Cannot list the sockets of this machine: ${errnoOf(error) ?? messageOf(error)}`,
      { path: "/proc/net/unix", fix: "mount /proc", cause: error },
    );
  }
  return listeningSockets(table).map((path) => {
    try {
      return join(realpathSync(dirname(path)), basename(path));
    } catch {
      return path;
    }
  });
}

/**
 * Binds over what of `protectedPaths` lies in a writable place: manifests, packages, our own installation. Each is read-only,
 * and each directory on the way to it is bound to itself: a mount point cannot be renamed, so nobody can move the way aside and
 * put another file in its place for the next run.
 */
export function readOnlyCovers(
  protectedPaths: readonly string[],
  writable: readonly Pick<Bind, "source" | "target">[],
): Bind[] {
  const covers = new Map<string, Bind>();
  const pins = new Map<string, Bind>();
  for (const path of new Set(protectedPaths)) {
    for (const place of writable) {
      if (place.source === path)
        throw new PlatformError(
          "policy",
          `Cannot let the agent write to "${path}": the run itself is made from it`,
          { path, fix: "give another directory with --workspace DIR" },
        );
      if (!isBelow(path, place.source) || !existsSync(path)) continue;
      // A place that is seen at two paths needs its cover at both.
      const at = (source: string): string => place.target + source.slice(place.source.length);
      covers.set(at(path), { source: path, target: at(path), mode: "ro" });
      for (let dir = dirname(path); isBelow(dir, place.source); dir = dirname(dir))
        pins.set(at(dir), { source: dir, target: at(dir), mode: "rw" });
    }
  }
  // What lies in a cover is covered. Outer ones first, so that no bind hides an inner one.
  return [...new Map([...pins, ...covers]).values()]
    .filter(({ target }) => ![...covers.keys()].some((cover) => isBelow(target, cover)))
    .sort((left, right) => left.target.length - right.target.length);
}

/**
 * Throws a refusal when a writable mount contains the workspace: the agent could move the workspace away and put a link there,
 * and what tools then get as their workspace would be whatever the link names.
 */
export function refuseMovableWorkspace(workspace: string, mounts: readonly Bind[]): void {
  const around = mounts.find(({ source, mode }) => mode === "rw" && isBelow(workspace, source));
  if (around === undefined) return;
  throw new PlatformError(
    "policy",
    `Cannot mount "${around.source}" for the agent to write: it contains the workspace "${workspace}"`,
    {
      path: around.source,
      fix: "mount it with mode: ro, name a smaller path, or make it the workspace",
    },
  );
}

/** True when `path` lies in `dir`; a path does not lie in itself. */
export function isBelow(path: string, dir: string): boolean {
  return path !== dir && path.startsWith(dir === "/" ? "/" : `${dir}/`);
}

function realPathOf(what: string, path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw new PlatformError(
      "usage",
      `Cannot use ${what} "${path}": ${errnoOf(error) ?? messageOf(error)}`,
      { path, fix: `give a ${what} that exists`, cause: error },
    );
  }
}

function refuseSystem(what: string, path: string): void {
  const below = NEVER_BELOW.find((dir) => path === dir || isBelow(path, dir));
  if (!SYSTEM_WHOLE.has(path) && below === undefined) return;
  throw new PlatformError(
    "policy",
    `Cannot use ${what} "${path}": it is a directory of the system`,
    { path, fix: `give a directory of your own as ${what}` },
  );
}
