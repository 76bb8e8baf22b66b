#!/usr/bin/env node
// Runs a named job of this repository with the pinned Node: check, a long suite, or the benchmarks.
//   node scripts/run.mjs check | images | attacks | faults | runtimes | soak | bench [ARGUMENTS]
import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { installRuntimes } from "./runtimes.mjs";
import { installCommand, installSteps, missingContainerTools } from "./system-packages.mjs";

const root = fileURLToPath(new URL("../", import.meta.url));
const node = path.join(root, `node_modules/node-linux-${process.arch}/bin/node`);
const bin = (name) => path.join(root, "node_modules/.bin", name);

/** Suites that take minutes. They have scripts of their own (`npm run test:attacks`); `check` leaves them out. */
const LONG_SUITES = {
  images: 1_200_000,
  attacks: 120_000,
  faults: 300_000,
  runtimes: 600_000,
  soak: 3_600_000,
};
const TEST_TIMEOUT_MS = 60_000;
/** A process that a broken test left behind can hold node's test runner for ever; nothing else would end it. */
const CHECK_LIMIT_MS = 900_000;
const SUITE_LIMIT_MS = 2_400_000;

const STATIC_PARTS = [
  ["types", bin("tsc"), ["--noEmit"]],
  ["lint", bin("oxlint"), ["--type-aware", "src", "test", "scripts", "bench", "examples"]],
  ["format", bin("oxfmt"), ["--check"]],
  ["dead code", bin("knip"), []],
];

function main([name, ...args]) {
  if (!existsSync(node)) {
    process.stderr.write(
      `run: Expected the pinned Node at "${node}", found none; run npm run setup\n`,
    );
    return 1;
  }
  // What tests and benchmarks start is then what an installation starts.
  if (run(node, [path.join(root, "scripts/build-programs.mjs")]) !== 0) return 1;
  if (name === "check") return check(args);
  if (name === "bench") return run(node, [path.join(root, "bench/main.ts"), ...args]);
  if (name === "fuzz") return run(node, [path.join(root, "test/fuzz/main.ts"), ...args]);
  if (name !== undefined && Object.hasOwn(LONG_SUITES, name)) return longSuite(name, args);
  const names = ["check", ...Object.keys(LONG_SUITES), "fuzz", "bench"].join(", ");
  process.stderr.write(
    `run: Expected one of ${names}, got ${name === undefined ? "nothing" : `"${name}"`}\n`,
  );
  return 2;
}

function check(args) {
  const failed = [];
  for (const [part, program, words] of STATIC_PARTS) {
    const started = performance.now();
    const code = run(program, words);
    const time = `${((performance.now() - started) / 1000).toFixed(1)} s`;
    process.stdout.write(`check: ${part} ${code === 0 ? "ok" : "FAILED"} (${time})\n`);
    if (code !== 0) failed.push(part);
  }
  if (failed.length > 0)
    process.stdout.write(`check: FAILED before the tests: ${failed.join(", ")}\n`);
  // One real CLI belongs to the whole: the run that everything here is for.
  process.env.PATH = [...installRuntimes(node, ["claude"]), process.env.PATH ?? ""].join(":");
  // Last, so that the summary of the tests is the last thing on the screen.
  const long = Object.keys(LONG_SUITES);
  const files = testFiles("test").filter(
    (file) => !long.some((suite) => file.startsWith(`test/${suite}/`)),
  );
  const code = runTests(files, TEST_TIMEOUT_MS, args, CHECK_LIMIT_MS);
  return failed.length > 0 ? 1 : code;
}

function longSuite(name, args) {
  const files = existsSync(path.join(root, "test", name)) ? testFiles(`test/${name}`) : [];
  if (files.length === 0) {
    process.stdout.write(`run: no tests in test/${name} yet\n`);
    return 0;
  }
  if (name === "images" && !installContainerTools()) return 1;
  if (name === "runtimes")
    process.env.PATH = [...installRuntimes(node), process.env.PATH ?? ""].join(":");
  const limitMs = name === "soak" ? undefined : SUITE_LIMIT_MS;
  return runTests(files, LONG_SUITES[name], args, limitMs);
}

/** Users for the user namespaces of pods (`hostUsers: false`), as podman's manual has them: `--userns auto` takes from this range. */
const USERS_OF_PODS = "containers:2147483647:2147483648\n";

/** As root, what images are built and run with: false when it cannot be had. The tests skip for others than root, and say so. */
function installContainerTools() {
  if (process.getuid() !== 0) return true;
  for (const file of ["/etc/subuid", "/etc/subgid"])
    if (!existsSync(file) || !/^containers:/m.test(readFileSync(file, "utf8")))
      appendFileSync(file, USERS_OF_PODS);
  if (missingContainerTools().length === 0) return true;
  for (const [program, ...words] of installSteps("containers") ?? []) run(program, words, 600_000);
  const missing = missingContainerTools();
  if (missing.length === 0) return true;
  process.stderr.write(
    `run: Expected ${missing.join(", ")} on PATH; install them: ${installCommand("containers")}\n`,
  );
  return false;
}

function runTests(files, timeoutMs, args, limitMs) {
  const options = [
    `--test-timeout=${timeoutMs}`,
    `--test-concurrency=${Math.max(1, Math.min(4, availableParallelism()))}`,
  ];
  return run(node, ["--test", "--test-reporter=spec", ...options, ...args, ...files], limitMs);
}

/** Test files beneath a directory, relative to the root, in a stable order. */
function testFiles(dir) {
  return readdirSync(path.join(root, dir), { recursive: true })
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => path.join(dir, name))
    .sort();
}

/** The exit code of a program that has our terminal; 1 when a signal or the limit ended it. */
function run(program, args, limitMs) {
  // The pinned Node first on PATH: the launchers in node_modules/.bin take "node" from there.
  const env = { ...process.env, PATH: `${path.dirname(node)}:${process.env.PATH ?? ""}` };
  const result = spawnSync(program, args, {
    cwd: root,
    env,
    stdio: "inherit",
    ...(limitMs === undefined ? {} : { timeout: limitMs, killSignal: "SIGKILL" }),
  });
  if (result.error !== undefined)
    process.stderr.write(`run: Cannot run "${program}": ${result.error.message}\n`);
  return result.status ?? 1;
}

process.exitCode = main(process.argv.slice(2));
