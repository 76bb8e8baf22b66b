#!/usr/bin/env node
// Compiles src/native into build/. Does nothing when the sources, flags and compiler are those of the last build.
// Plain JavaScript without dependencies: npm runs it as postinstall, under whatever Node is there (20 or newer).
import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { installCommand } from "./system-packages.mjs";

const root = fileURLToPath(new URL("../", import.meta.url));
const sourceDir = path.join(root, "src/native");
const buildDir = path.join(root, "build");

const COMMON = ["-O2", "-Wall", "-Wextra", "-Werror", "-std=gnu11"];
// Static, because they run in sandboxes whose libraries are not ours (or not there at all).
const PROGRAMS = [
  "zone-init",
  "tool-spawner",
  "host-uid",
  "report",
  "copy-tree",
  "pod-zone",
  "set-aside",
].map((name) => ({
  source: `${name}.c`,
  output: name,
  flags: [...COMMON, "-static"],
}));

/** Builds what is out of date. Returns the names it built. Throws an Error whose message names the cause and the fix. */
export function buildNative() {
  if (!existsSync(sourceDir))
    throw new Error(
      `Cannot build the native parts: "${sourceDir}" is missing; install agentkube again`,
    );
  const targets = [...PROGRAMS, addonTarget()];
  const headers = readdirSync(sourceDir)
    .filter((name) => name.endsWith(".h"))
    .sort();
  const stale = targets.filter((target) => !isCurrent(target, digestOf(target, headers)));
  if (stale.length === 0) return [];
  const compiler = findCompiler();
  mkdirSync(buildDir, { recursive: true });
  for (const target of stale) {
    compile(compiler, target);
    writeAtomically(stampOf(target), digestOf(target, headers));
  }
  return stale.map((target) => target.output);
}

/** The names of what `buildNative` builds, in build/. */
export function nativeParts() {
  return [...PROGRAMS.map((program) => program.output), "addon.node"];
}

function addonTarget() {
  const include = nodeHeaders();
  return {
    source: "addon.c",
    output: "addon.node",
    flags: [...COMMON, "-shared", "-fPIC", ...(include === null ? [] : [`-I${include}`])],
    missingHeaders: include === null,
  };
}

/** The directory of node_api.h. The addon uses Node-API only, so headers of any Node from 20 on will do. */
function nodeHeaders() {
  const candidates = [];
  for (let dir = root; ; dir = path.dirname(dir)) {
    candidates.push(path.join(dir, `node_modules/node-linux-${process.arch}/include/node`));
    if (dir === path.dirname(dir)) break;
  }
  candidates.push(
    path.resolve(process.execPath, "../../include/node"),
    "/usr/include/node",
    "/usr/local/include/node",
  );
  return candidates.find((dir) => existsSync(path.join(dir, "node_api.h"))) ?? null;
}

function findCompiler() {
  const asked = process.env.CC;
  const names = asked === undefined || asked === "" ? ["cc", "gcc", "clang"] : [asked];
  for (const name of names) {
    for (const dir of name.includes("/") ? [""] : (process.env.PATH ?? "").split(":")) {
      const file = path.resolve(dir, name);
      try {
        accessSync(file, constants.X_OK);
        return file;
      } catch {
        // the next one
      }
    }
  }
  throw new Error(
    `Cannot build the native parts: expected a C compiler on PATH (${names.join(", ")}), found none; install one: ${installCommand("compiler")}`,
  );
}

function compile(compiler, target) {
  if (target.missingHeaders)
    throw new Error(
      `Cannot build "build/addon.node": expected node_api.h in node_modules/node-linux-${process.arch}/include/node, /usr/include/node or beside this Node, found none; run npm ci`,
    );
  const source = path.join(sourceDir, target.source);
  if (!existsSync(source))
    throw new Error(`Cannot build "build/${target.output}": its source "${source}" is missing`);
  // Another build may run at the same time: each writes a file of its own, and the last rename wins with the same bytes.
  const temporary = path.join(buildDir, `.${target.output}.${process.pid}`);
  try {
    execFileSync(compiler, [...target.flags, "-o", temporary, source], {
      stdio: ["ignore", "pipe", "pipe"],
      cwd: sourceDir,
    });
    renameSync(temporary, path.join(buildDir, target.output));
  } catch (error) {
    const output = String(error.stderr ?? error.message);
    if (/cannot find -lc\b|cannot find -l:?libc\.a/.test(output))
      throw new Error(
        `Cannot build "build/${target.output}": the static C library is missing; install it: ${installCommand("static-libc")}`,
        { cause: error },
      );
    if (/fatal error: (?!node_api)[\w/.]+\.h: No such file/.test(output))
      throw new Error(
        `Cannot build "build/${target.output}": system headers are missing; install them: ${installCommand("compiler")}\n${output}`,
        { cause: error },
      );
    throw new Error(`Cannot build "build/${target.output}" with ${compiler}:\n${output}`, {
      cause: error,
    });
  } finally {
    rmSync(temporary, { force: true });
  }
}

function digestOf(target, headers) {
  const hash = createHash("sha256").update(JSON.stringify([process.arch, target.flags]));
  for (const name of [target.source, ...headers]) {
    const file = path.join(sourceDir, name);
    hash.update(`\0${name}\0`).update(existsSync(file) ? readFileSync(file) : "missing");
  }
  return hash.digest("hex");
}

function stampOf(target) {
  return path.join(buildDir, `.${target.output}.sha256`);
}

function isCurrent(target, digest) {
  const stamp = stampOf(target);
  return (
    existsSync(path.join(buildDir, target.output)) &&
    existsSync(stamp) &&
    readFileSync(stamp, "utf8") === digest
  );
}

function writeAtomically(file, text) {
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, text);
  renameSync(temporary, file);
}

if (
  process.argv[1] !== undefined &&
  path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)
) {
  if (process.platform !== "linux") {
    process.stderr.write(
      `agentkube: expected Linux, found ${process.platform}; run it on Linux or in a Linux container\n`,
    );
    process.exit(1);
  }
  try {
    const built = buildNative();
    if (built.length > 0) process.stderr.write(`agentkube: built ${built.join(", ")}\n`);
  } catch (error) {
    process.stderr.write(`agentkube: ${error.message}\n`);
    process.exit(1);
  }
}
