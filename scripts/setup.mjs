#!/usr/bin/env node
// Makes a checkout ready: dependencies, the pinned Node, the native parts, the programs in one file each, bubblewrap. Safe to run again; then it takes
// a moment and says nothing. Plain JavaScript without dependencies, for Node 20 or newer, as root or as an ordinary user.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { buildNative } from "./build-native.mjs";
import { buildPrograms } from "./build-programs.mjs";
import { findOnPath, installCommand, installSteps } from "./system-packages.mjs";

const root = fileURLToPath(new URL("../", import.meta.url));
const modules = path.join(root, "node_modules");
const lockFile = path.join(root, "package-lock.json");
const stampFile = path.join(modules, ".agentkube-lock");
const BUBBLEWRAP = [0, 8];

function say(line) {
  process.stderr.write(`setup: ${line}\n`);
}

/** Each step throws an Error whose message is the one line a person needs. */
async function setup() {
  if (process.platform !== "linux")
    throw new Error(
      `Expected Linux, found ${process.platform}; run it on Linux or in a Linux container`,
    );
  if (Number(process.versions.node.split(".")[0]) < 20)
    throw new Error(
      `Expected Node 20 or newer to set up, found ${process.version}; install it from https://nodejs.org`,
    );
  if (process.arch !== "x64" && process.arch !== "arm64")
    throw new Error(
      `Expected an x64 or arm64 machine, found ${process.arch}; there is no pinned Node for it`,
    );
  await installDependencies();
  checkPinnedNode();
  const started = performance.now();
  const built = buildNative();
  built.push(...(await buildPrograms()));
  if (built.length > 0) say(`built ${built.join(", ")} (${seconds(started)})`);
  ensureBubblewrap();
}

async function installDependencies() {
  const lock = createHash("sha256").update(readFileSync(lockFile)).digest("hex");
  if (isInstalled(lock)) return;
  say("installing dependencies (npm ci), some 300 MB at the first time …");
  const started = performance.now();
  const cache = temporaryCache();
  try {
    // Without install scripts: ours (the native build) follows as a step of its own, no dependency needs one.
    await runQuietly(...npmCommand(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]), {
      ...process.env,
      ...(cache === null ? {} : { npm_config_cache: cache }),
    });
  } finally {
    if (cache !== null) rmSync(cache, { recursive: true, force: true });
  }
  writeFileSync(stampFile, lock);
  say(`installed dependencies (${seconds(started)})`);
}

function isInstalled(lock) {
  if (existsSync(stampFile)) return readFileSync(stampFile, "utf8") === lock;
  // Installed by npm itself: its own record is at least as new as the lock file.
  const record = path.join(modules, ".package-lock.json");
  return existsSync(record) && statSync(record).mtimeMs >= statSync(lockFile).mtimeMs;
}

/** npm's cache is under HOME; where HOME is unset or not writable, a temporary one serves. */
function temporaryCache() {
  const home = process.env.HOME;
  if (process.env.npm_config_cache !== undefined) return null;
  try {
    if (home !== undefined && home !== "") {
      accessSync(home, constants.W_OK);
      return null;
    }
  } catch {
    // not writable
  }
  return mkdtempSync(path.join(tmpdir(), "agentkube-npm-"));
}

function npmCommand(args) {
  const script = process.env.npm_execpath;
  if (script !== undefined && script.endsWith(".js") && path.basename(script).startsWith("npm"))
    return [process.execPath, [script, ...args]];
  const npm = findOnPath("npm");
  if (npm === null)
    throw new Error(
      "Expected npm on PATH, found none; install Node with npm from https://nodejs.org",
    );
  return [npm, args];
}

/** Runs a program with its output held back; the last lines are shown when it fails, a dot every 5 s while it works. */
function runQuietly(program, args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
    let tail = "";
    const keep = (chunk) => {
      tail = (tail + chunk).slice(-8192);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const started = performance.now();
    const progress = setInterval(() => say(`  still at it (${seconds(started)})`), 10_000);
    child.once("error", (error) => {
      clearInterval(progress);
      reject(new Error(`Cannot run ${program}: ${error.message}`));
    });
    child.once("close", (code, signal) => {
      clearInterval(progress);
      if (code === 0) resolve();
      else
        reject(
          new Error(
            `${path.basename(program)} ${args[0]} failed (${signal ?? code}):\n${tail.trim()}`,
          ),
        );
    });
  });
}

function checkPinnedNode() {
  const node = path.join(modules, `node-linux-${process.arch}/bin/node`);
  const result = spawnSync(node, ["--version"], { encoding: "utf8", timeout: 20_000 });
  if (result.error !== undefined || result.status !== 0) {
    const cause = result.error?.message ?? result.stderr.trim();
    throw new Error(
      `Cannot run the pinned Node "${node}": ${cause}; it needs glibc 2.28 or newer and libstdc++ (Debian: apt-get install libstdc++6); if the file is missing, remove node_modules and run again`,
    );
  }
}

function ensureBubblewrap() {
  const found = bubblewrapVersion();
  if (found !== null && isAtLeast(found, BUBBLEWRAP)) return;
  const what = found === null ? "no bubblewrap" : `bubblewrap ${found.join(".")}`;
  const steps = installSteps("bubblewrap");
  if (process.getuid() !== 0 || steps === null)
    throw new Error(
      `Expected bubblewrap 0.8 or newer, found ${what}; install it: ${installCommand("bubblewrap")}`,
    );
  say(`installing bubblewrap (${steps.at(-1).join(" ")})`);
  for (const [program, ...args] of steps) {
    const result = spawnSync(program, args, {
      encoding: "utf8",
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
      timeout: 300_000,
    });
    // An update that fails for one of many sources does not matter when the install then works.
    if (result.status !== 0 && !args.includes("update"))
      throw new Error(
        `Cannot install bubblewrap with ${program}: ${(result.stderr || result.error?.message || "").trim()}`,
      );
  }
  const now = bubblewrapVersion();
  if (now === null || !isAtLeast(now, BUBBLEWRAP))
    throw new Error(
      `Expected bubblewrap 0.8 or newer, found ${now === null ? "none" : now.join(".")} after the installation; this distribution is too old for the sandbox`,
    );
  say(`installed bubblewrap ${now.join(".")}`);
}

function bubblewrapVersion() {
  const result = spawnSync("bwrap", ["--version"], { encoding: "utf8", timeout: 10_000 });
  const match = /(\d+)\.(\d+)(?:\.(\d+))?/.exec(result.stdout ?? "");
  return result.status !== 0 || match === null
    ? null
    : match
        .slice(1, 4)
        .filter((part) => part !== undefined)
        .map(Number);
}

function isAtLeast(version, wanted) {
  return version[0] > wanted[0] || (version[0] === wanted[0] && version[1] >= wanted[1]);
}

function seconds(started) {
  return `${((performance.now() - started) / 1000).toFixed(1)} s`;
}

try {
  await setup();
} catch (error) {
  say(error.message);
  process.exitCode = 1;
}
