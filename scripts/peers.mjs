// Installs what the benchmarks are measured beside, at pinned versions, into a cache outside the repository: $AGENTKUBE_PEERS, else
// $XDG_CACHE_HOME/agentkube/peers, else ~/.cache/agentkube/peers. `node scripts/peers.mjs [NAME…]` says where each one is. Plain
// JavaScript.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** Their install scripts are not run. */
const PEERS = {
  "sandbox-runtime": { package: "@anthropic-ai/sandbox-runtime", version: "0.0.83" },
  mockttp: { package: "mockttp", version: "4.6.5" },
};

/** Where one peer's package lies, installed if need be: `{ dir, version }`, or `{ why }` when it cannot be had. */
export function installPeer(name) {
  const peer = PEERS[name];
  if (peer === undefined) return { why: `expected one of ${Object.keys(PEERS).join(", ")}` };
  const env = process.env;
  const cache =
    env.AGENTKUBE_PEERS ??
    path.join(env.XDG_CACHE_HOME ?? path.join(homedir(), ".cache"), "agentkube/peers");
  const home = path.join(cache, `${name}-${peer.version}`);
  const dir = path.join(home, "node_modules", peer.package);
  if (existsSync(path.join(dir, "package.json"))) return { dir, version: peer.version };
  process.stderr.write(`peers: installing ${peer.package}@${peer.version} …\n`);
  const why = install(`${peer.package}@${peer.version}`, home);
  return why === null ? { dir, version: peer.version } : { why: `cannot install ${name}: ${why}` };
}

/** Null when it is there, whole: a half-installed one never gets its final name. */
function install(target, home) {
  const draft = `${home}.${process.pid}`;
  try {
    mkdirSync(draft, { recursive: true });
    const words = ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"];
    const result = spawnSync("npm", [...words, "--prefix", draft, target], {
      cwd: draft,
      encoding: "utf8",
      timeout: 600_000,
    });
    if (result.status !== 0)
      return result.error?.message ?? `npm ended with ${result.status}: ${lastLines(result)}`;
    renameSync(draft, home);
    return null;
  } catch (error) {
    // Somebody else was quicker; theirs is the same.
    return existsSync(home) ? null : error.message;
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

function lastLines({ stderr }) {
  return `${stderr ?? ""}`.trim().split("\n").slice(-3).join("; ");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(PEERS);
  for (const name of names) {
    const { dir, why } = installPeer(name);
    process.stdout.write(`${name}: ${dir ?? why}\n`);
    if (dir === undefined) process.exitCode = 1;
  }
}
