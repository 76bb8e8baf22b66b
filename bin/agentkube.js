#!/bin/sh
// 2>/dev/null; self=$(readlink -f -- "$0"); dir=${self%/*}; while [ -n "$dir" ]; do for arch in x64 arm64; do node="$dir/node_modules/node-linux-$arch/bin/node"; if [ -x "$node" ]; then exec "$node" "$self" "$@"; fi; done; dir=${dir%/*}; done; exec node "$self" "$@"

// To a shell the line above is a command that fails quietly, then an exec of the pinned Node with this file: so no second
// process stays behind. To Node it is a comment. `node bin/agentkube.js` with any Node from 20 on works as well.
// CommonJS (bin/package.json): Node's loader of modules takes 8 ms of a start, and a built program needs none.
const { existsSync, readFileSync, realpathSync, statSync } = require("node:fs");
const nodeModule = require("node:module");
const { dirname, join } = require("node:path");
const { fileURLToPath, pathToFileURL } = require("node:url");
const { runBuiltProgram } = require("./built-program.js");

const self = realpathSync(__filename);
const root = dirname(dirname(self));
const pinned = findPinnedNode(root);

if (pinned === undefined) {
  process.stderr.write(
    `agentkube: Cannot find its Node (package node-linux-${process.arch}) beside "${root}"\n` +
      "  fix:  run npm ci in that directory, on Linux x64 or arm64\n",
  );
  process.exitCode = 3;
} else if (realpathSync(process.execPath) !== pinned) {
  restart(pinned);
} else {
  watchLauncher();
  if (!runBuiltProgram(root, process.argv[2])) {
    keepCompiledCode(join(root, "build"));
    if (root.includes("/node_modules/")) stripTypesBelow(root);
    void import(pathToFileURL(join(root, "src/cli/main.ts")).href);
  }
}

function findPinnedNode(from) {
  for (let dir = from; ; dir = dirname(dir)) {
    const path = join(dir, `node_modules/node-linux-${process.arch}/bin/node`);
    if (existsSync(path)) return realpathSync(path);
    if (dir === dirname(dir)) return undefined;
  }
}

/** Becomes the pinned Node; where this Node cannot exec, stands in front of it and passes on signals and the ending. */
function restart(node) {
  const { spawn } = require("node:child_process");
  const args = [self, ...process.argv.slice(2)];
  if (typeof process.execve === "function") process.execve(node, [node, ...args], process.env);
  const child = spawn(node, args, {
    stdio: "inherit",
    env: { ...process.env, AGENTKUBE_LAUNCHER: String(process.pid) },
  });
  const pass = (signal) => {
    // Ctrl-C at a terminal reaches the child without our help.
    if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"];
  for (const signal of signals) process.on(signal, pass);
  child.once("error", (error) => {
    process.stderr.write(`agentkube: Cannot start "${node}": ${error.message}\n`);
    process.exitCode = 1;
  });
  child.once("exit", (code, signal) => {
    for (const name of signals) process.off(name, pass);
    if (signal === null) process.exit(code ?? 1);
    process.kill(process.pid, signal);
  });
}

/** A launcher that was killed must not leave its child behind: killing `run` detaches, and that is this process. */
function watchLauncher() {
  const launcher = process.env.AGENTKUBE_LAUNCHER;
  if (launcher === undefined) return;
  delete process.env.AGENTKUBE_LAUNCHER;
  if (process.ppid !== Number(launcher)) return;
  setInterval(() => {
    if (process.ppid !== Number(launcher)) process.exit(129);
  }, 500).unref();
}

/** Compiled code is kept beside our native parts, in a place that is ours alone to write: start-up takes half as long. */
function keepCompiledCode(dir) {
  try {
    const { uid, mode } = statSync(dir);
    if (uid !== process.getuid() || (mode & 0o022) !== 0) return;
    nodeModule.enableCompileCache(join(dir, "compile-cache"));
    // Else written at an orderly end only: a program that lives long, or is killed, would leave the next one nothing.
    setTimeout(() => nodeModule.flushCompileCache(), 3000).unref();
  } catch {
    // Not built yet.
  }
}

/** Node refuses to strip types below node_modules; an installed package does it by a hook of its own. */
function stripTypesBelow(dir) {
  const prefix = pathToFileURL(`${dir}/src/`).href;
  process.removeAllListeners("warning");
  nodeModule.registerHooks({
    load(url, context, next) {
      if (!url.startsWith(prefix) || !url.endsWith(".ts")) return next(url, context);
      const source = nodeModule.stripTypeScriptTypes(readFileSync(fileURLToPath(url), "utf8"));
      return { format: "module", source, shortCircuit: true };
    },
  });
}
