// Installs the real agent CLIs that test/runtimes drives, at pinned versions, into a cache outside the repository:
// $AGENTKUBE_RUNTIMES, else $XDG_CACHE_HOME/agentkube/runtimes, else ~/.cache/agentkube/runtimes. Plain JavaScript.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";

/** `postinstall`: what the package's own install script would do; run by name, so that no other script runs. */
const RUNTIMES = [
  {
    name: "claude",
    package: "@anthropic-ai/claude-code",
    version: "2.1.329",
    postinstall: "install.cjs",
  },
];

/** The directories to put on PATH. A CLI that cannot be had is left out with one line that says why: its tests skip. */
export function installRuntimes(node) {
  const env = process.env;
  const cache =
    env.AGENTKUBE_RUNTIMES ??
    path.join(env.XDG_CACHE_HOME ?? path.join(homedir(), ".cache"), "agentkube/runtimes");
  return RUNTIMES.flatMap((runtime) => {
    const dir = path.join(cache, `${runtime.name}-${runtime.version}`);
    const bin = path.join(dir, "node_modules/.bin");
    if (existsSync(path.join(bin, runtime.name))) return [bin];
    process.stdout.write(`runtimes: installing ${runtime.package}@${runtime.version} …\n`);
    const why = install(node, runtime, dir);
    if (why === null) return [bin];
    process.stdout.write(`runtimes: Cannot install ${runtime.package}: ${why}\n`);
    return [];
  });
}

/** Null when it is there, whole: a half-installed one never gets its final name. */
function install(node, runtime, dir) {
  const draft = `${dir}.${process.pid}`;
  const env = { ...process.env, PATH: `${path.dirname(node)}:${process.env.PATH ?? ""}` };
  try {
    mkdirSync(draft, { recursive: true });
    const words = ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"];
    const target = `${runtime.package}@${runtime.version}`;
    const npm = run("npm", [...words, "--prefix", draft, target], { env, cwd: draft });
    if (npm !== null) return npm;
    const home = path.join(draft, "node_modules", runtime.package);
    const post = run(node, [runtime.postinstall], { env, cwd: home });
    if (post !== null) return post;
    renameSync(draft, dir);
    return null;
  } catch (error) {
    // Somebody else was quicker; theirs is the same.
    return existsSync(dir) ? null : error.message;
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

function run(program, words, options) {
  const result = spawnSync(program, words, { ...options, encoding: "utf8", timeout: 600_000 });
  if (result.status === 0) return null;
  const said = `${result.stderr ?? ""}`.trim().split("\n").slice(-3).join("; ");
  return result.error?.message ?? `${program} ended with ${result.status}: ${said}`;
}
