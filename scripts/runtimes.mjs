// Installs the real agent CLIs that the tests drive, at pinned versions, into a cache outside the repository:
// $AGENTKUBE_RUNTIMES, else $XDG_CACHE_HOME/agentkube/runtimes, else ~/.cache/agentkube/runtimes. Plain JavaScript.
//   node scripts/runtimes.mjs [NAME…]   installs all, or those named, and prints the directories to put on PATH
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** One file names every version: images, installs and tests take theirs from it. */
const versions = JSON.parse(
  readFileSync(new URL("../images/versions.json", import.meta.url), "utf8"),
).runtimes;

/**
 * `npm` or `pip` names the package; `name` is its program and `image` its folder of `images/`. `postinstall`: what the package's own
 * install script would do; run by name, so that no other script runs. `native`: it runs without Node.
 */
export const RUNTIMES = [
  {
    name: "claude",
    image: "claudecode",
    npm: "@anthropic-ai/claude-code",
    version: versions.claudecode,
    postinstall: "install.cjs",
    native: true,
  },
  { name: "codex", image: "codex", npm: "@openai/codex", version: versions.codex },
  {
    name: "opencode",
    image: "opencode",
    npm: "opencode-ai",
    version: versions.opencode,
    postinstall: "postinstall.mjs",
  },
  {
    name: "cline",
    image: "cline",
    npm: "cline",
    version: versions.cline,
    postinstall: "postinstall.mjs",
  },
  { name: "goose", image: "goose", npm: "@aaif/goose", version: versions.goose },
  { name: "gemini", npm: "@google/gemini-cli", version: versions.gemini },
  // No agent, but a client that real people look at tools with.
  { name: "mcp-inspector", npm: "@modelcontextprotocol/inspector", version: "0.17.2" },
  { name: "aider", image: "aider", pip: "aider-chat", version: versions.aider },
];

const INSTALL_LIMIT_MS = 300_000;

/** The directories to put on PATH. A CLI that cannot be had is left out with one line that says why: its tests skip. */
export function installRuntimes(node, names = RUNTIMES.map(({ name }) => name)) {
  const env = process.env;
  const cache =
    env.AGENTKUBE_RUNTIMES ??
    path.join(env.XDG_CACHE_HOME ?? path.join(homedir(), ".cache"), "agentkube/runtimes");
  return RUNTIMES.filter(({ name }) => names.includes(name)).flatMap((runtime) => {
    const dir = path.join(cache, `${runtime.name}-${runtime.version}`);
    const bin = path.join(dir, runtime.pip === undefined ? "node_modules/.bin" : "bin");
    if (existsSync(path.join(bin, runtime.name))) return [bin];
    const target = runtime.npm ?? runtime.pip;
    const started = performance.now();
    const why =
      runtime.pip === undefined ? installNpm(node, runtime, dir) : installPip(runtime, dir);
    const seconds = Math.round((performance.now() - started) / 1000);
    process.stderr.write(
      why === null
        ? `runtimes: ${target} ${runtime.version} installed (${seconds} s)\n`
        : `runtimes: Cannot install ${target} ${runtime.version} (${seconds} s): ${why}\n`,
    );
    return why === null ? [bin] : [];
  });
}

/** Null when it is there, whole: a half-installed one never gets its final name. */
function installNpm(node, runtime, dir) {
  const draft = `${dir}.${process.pid}`;
  // The Node that runs npm decides which version of a package npm takes: the pinned one, first on PATH.
  const env = { ...process.env, PATH: `${path.dirname(node)}:${process.env.PATH ?? ""}` };
  try {
    mkdirSync(draft, { recursive: true });
    const words = [
      "install",
      "--no-save",
      "--ignore-scripts",
      "--no-audit",
      "--no-fund",
      "--fetch-retries=1",
    ];
    const target = `${runtime.npm}@${runtime.version}`;
    const npm = run("npm", [...words, "--prefix", draft, target], { env, cwd: draft });
    if (npm !== null) return npm;
    if (runtime.postinstall !== undefined) {
      const home = path.join(draft, "node_modules", runtime.npm);
      const post = run(node, [runtime.postinstall], { env, cwd: home });
      if (post !== null) return post;
    }
    renameSync(draft, dir);
    return null;
  } catch (error) {
    // Somebody else was quicker; theirs is the same.
    return existsSync(dir) ? null : error.message;
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

/** A virtual environment cannot be moved: one that has no program in the end is removed. */
function installPip(runtime, dir) {
  const program = path.join(dir, "bin", runtime.name);
  const why =
    run("python3", ["-m", "venv", dir], {}) ??
    run(
      path.join(dir, "bin/pip"),
      ["install", "--quiet", "--disable-pip-version-check", `${runtime.pip}==${runtime.version}`],
      {},
    );
  if (why === null && existsSync(program)) return null;
  rmSync(dir, { recursive: true, force: true });
  return why ?? `${program} is not there after the install`;
}

function run(program, words, options) {
  const limits = { encoding: "utf8", timeout: INSTALL_LIMIT_MS, killSignal: "SIGKILL" };
  const result = spawnSync(program, words, { ...options, ...limits });
  if (result.status === 0) return null;
  const said = `${result.stderr ?? ""}`.trim().split("\n").slice(-3).join("; ");
  return result.error?.message ?? `${program} ended with ${result.status}: ${said}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const names = process.argv.slice(2);
  const dirs = installRuntimes(process.execPath, names.length > 0 ? names : undefined);
  process.stdout.write(`${dirs.join(":")}\n`);
}
