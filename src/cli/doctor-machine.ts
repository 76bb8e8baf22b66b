import { constants } from "node:fs";
import { access, readFile, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { findHierarchy } from "../kit/control-groups.ts";
import { messageOf } from "../kit/platform-error.ts";
import { native, nativeProgram } from "../kit/native.ts";
import { findBubblewrap } from "../kit/bubblewrap-zone.ts";
import type { DoctorResult } from "../protocol/results.ts";
import { humanBytes } from "./human.ts";
import { findProgram } from "./resolve-program.ts";
import { runBriefly } from "./run-briefly.ts";
import { knownRuntimes } from "../protocol/runtimes.ts";

export type Check = DoctorResult["checks"][number];
type FoundRuntime = DoctorResult["runtimes"][number];
type Env = Readonly<Record<string, string | undefined>>;

const LIMIT_MS = 5000;
const NODE_MAJOR = 24;
const BUBBLEWRAP_MINOR = 8;

/** What this machine has, each with what to do when it is missing. Never rejects for what it finds. */
export async function machineChecks(env: Env, dataDir: string): Promise<Check[]> {
  return [
    nodeCheck(),
    nativeCheck(),
    ...(await Promise.all([
      compilerCheck(env),
      bubblewrapCheck(env),
      userNamespaceCheck(env),
      groupCheck(),
      dataDirCheck(dataDir),
    ])),
  ];
}

/** Every runtime of the manifests: where PATH has it, and the version it says. */
export async function findRuntimes(env: Env): Promise<FoundRuntime[]> {
  return await Promise.all(
    Object.entries(knownRuntimes).map(async ([runtime, { program }]) => {
      const found = findProgram(program, env["PATH"] ?? "", "/");
      if (found === null) return { runtime, found: null, version: null };
      const said = await runBriefly([found.found, "--version"], env, LIMIT_MS);
      return { runtime, found: found.found, version: versionIn(said) };
    }),
  );
}

function versionIn({
  code,
  stdout,
  stderr,
}: {
  code: number | null;
  stdout: string;
  stderr: string;
}): string | null {
  if (code !== 0) return null;
  const line = `${stdout}\n${stderr}`.split("\n").find((each) => each.trim() !== "");
  return line === undefined
    ? null
    : (/\d+(?:\.\d+)+[\w.+-]*/.exec(line)?.[0] ?? line.trim().slice(0, 80));
}

function nodeCheck(): Check {
  const major = Number(process.versions.node.split(".")[0]);
  const ok = major >= NODE_MAJOR;
  const fix = ok ? null : `install Node ${NODE_MAJOR} or newer`;
  return { name: "node", ok, found: `${process.version} (${process.execPath})`, fix };
}

async function compilerCheck(env: Env): Promise<Check> {
  for (const name of ["cc", "gcc", "clang"]) {
    const found = findProgram(name, env["PATH"] ?? "", "/");
    if (found === null) continue;
    const { code, stdout } = await runBriefly([found.found, "--version"], env, LIMIT_MS);
    if (code === 0)
      return { name: "compiler", ok: true, found: stdout.split("\n")[0] ?? found.found, fix: null };
  }
  return {
    name: "compiler",
    ok: null,
    found: "none of cc, gcc, clang on PATH",
    fix: "needed only to build the native parts: apt-get install gcc libc6-dev",
  };
}

function nativeCheck(): Check {
  try {
    native();
    for (const program of ["zone-init", "tool-spawner", "host-uid", "report"] as const)
      nativeProgram(program);
    return {
      name: "native parts",
      ok: true,
      found: "addon, zone-init, tool-spawner, host-uid, report",
      fix: null,
    };
  } catch (error) {
    return {
      name: "native parts",
      ok: false,
      found: messageOf(error),
      fix: "run npm run setup in agentkube's directory",
    };
  }
}

async function bubblewrapCheck(env: Env): Promise<Check> {
  const fix = "install bubblewrap 0.8 or newer (Debian: apt-get install bubblewrap)";
  let path: string;
  try {
    path = findBubblewrap(env["PATH"] ?? "");
  } catch (error) {
    return { name: "bubblewrap", ok: false, found: messageOf(error), fix };
  }
  const { stdout, problem } = await runBriefly([path, "--version"], env, LIMIT_MS);
  const version = /(\d+)\.(\d+)[\d.]*/.exec(stdout);
  const [text = problem ?? "no version", major = "0", minor = "0"] = version ?? [];
  const ok = Number(major) > 0 || Number(minor) >= BUBBLEWRAP_MINOR;
  return { name: "bubblewrap", ok, found: `${text} (${path})`, fix: ok ? null : fix };
}

/** The kernel is asked by doing it; its settings say why when it refuses. */
async function userNamespaceCheck(env: Env): Promise<Check> {
  const name = "user namespaces";
  const settings = await settingsOf([
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
  ]);
  let bubblewrap: string;
  try {
    bubblewrap = findBubblewrap(env["PATH"] ?? "");
  } catch {
    return { name, ok: null, found: `not tried without bubblewrap; ${settings}`, fix: null };
  }
  const argv = [
    bubblewrap,
    "--unshare-user",
    "--die-with-parent",
    "--ro-bind",
    "/",
    "/",
    "/bin/true",
  ];
  const { code, stderr, problem } = await runBriefly(argv, env, LIMIT_MS);
  if (code === 0) return { name, ok: true, found: settings, fix: null };
  return {
    name,
    ok: false,
    found: `${problem ?? stderr.trim().split("\n").at(-1) ?? "refused"}; ${settings}`,
    fix: "as root: sysctl user.max_user_namespaces=15000; on Ubuntu also sysctl kernel.apparmor_restrict_unprivileged_userns=0",
  };
}

async function settingsOf(paths: readonly string[]): Promise<string> {
  const values = await Promise.all(
    paths.map(async (path) => {
      const value = (await readFile(path, "utf8").catch(() => "")).trim();
      return value === ""
        ? []
        : [`${path.slice("/proc/sys/".length).replaceAll("/", ".")}=${value}`];
    }),
  );
  return values.flat().join(", ") || "no such settings in this kernel";
}

/** Where tier strict makes its groups. Whether it can is in the row of that tier, which was tried, with what to do. */
async function groupCheck(): Promise<Check> {
  const name = "control groups";
  try {
    const { version, memory } = findHierarchy();
    const writable = await access(memory, constants.W_OK).then(
      () => true,
      () => false,
    );
    const found = `v${version}, ${memory} is ${writable ? "writable" : "not writable"}`;
    return { name, ok: writable ? true : null, found, fix: null };
  } catch (error) {
    return { name, ok: null, found: messageOf(error), fix: null };
  }
}

/** The magic numbers of those that may say they are writable and take no directory of ours: proc, sysfs, cgroup v1 and v2. */
const KERNEL_FILESYSTEMS = new Set([0x9fa0, 0x62656572, 0x27e0eb, 0x63677270]);

async function dataDirCheck(dataDir: string): Promise<Check> {
  const name = "data directory";
  const fix = "give a directory that you can write to with --data DIR";
  let at = dataDir;
  for (;;) {
    try {
      const facts = await stat(at);
      if (!facts.isDirectory()) return { name, ok: false, found: `"${at}" is no directory`, fix };
      break;
    } catch {
      if (at === dirname(at)) return { name, ok: false, found: `"${dataDir}" cannot be made`, fix };
      at = dirname(at);
    }
  }
  const writable = await access(at, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
  if (!writable) return { name, ok: false, found: `"${at}" is not writable`, fix };
  const { bavail, bsize, type } = await statfs(at);
  if (KERNEL_FILESYSTEMS.has(type))
    return { name, ok: false, found: `"${at}" is the kernel's, nothing can be kept there`, fix };
  const exists = at === dataDir ? "" : ", made at the first run";
  return {
    name,
    ok: true,
    found: `${dataDir} (${humanBytes(bavail * bsize)} free${exists})`,
    fix: null,
  };
}
