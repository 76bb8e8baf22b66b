// Makes the self-contained folder that our images hold and that an init container puts into any other image: Node with the libraries
// it needs (so it runs in any Linux image, whatever its C library), our code, the native parts, a PID 1. Plain JavaScript.
import { execFileSync } from "node:child_process";
import {
  cpSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { buildNative, nativeParts } from "./build-native.mjs";
import { buildPrograms } from "./build-programs.mjs";
import { findOnPath, installCommand } from "./system-packages.mjs";

const root = fileURLToPath(new URL("../", import.meta.url));
/** The folder's place in every image; Node's loader and libraries are found by it. */
const HOME = "/opt/agentkube-bin";
/** What is for another runtime than Node, or the source of what lies built beside it. */
const NOT_RUN = /\/(?:bare-[^/]+\/prebuilds|zod\/src|@xterm\/[^/]+\/src|ajv\/lib|yaml\/browser)$/;
/** What only a developer reads. */
const LEFT_OUT =
  /(?:\.(?:map|md|markdown|d\.ts|d\.mts|d\.cts|ts\.snap)|\/(?:tests?|__tests__|examples?|docs|\.github))$/i;
/** Packages that no program loads: they make the programs. */
const BUILDS_ONLY = /^node_modules\/@?esbuild(?:\/|$)/;

/** Writes the folder to `target` anew. Throws an Error whose message is the one line a person needs. */
export async function makeBundle(target) {
  for (const program of ["patchelf", "strip", "ldd"]) need(program);
  // The PID 1 of our containers.
  const tini = need("tini-static");
  buildNative();
  rmSync(target, { recursive: true, force: true });
  const into = (...parts) => path.join(target, ...parts);
  for (const dir of ["bin", "lib", "build", "images"]) mkdirSync(into(dir), { recursive: true });
  copyNode(into);
  cpSync(tini, into("bin/tini"));
  cpSync(path.join(root, "bin/agentkube.js"), into("bin/agentkube.js"));
  cpSync(path.join(root, "package.json"), into("package.json"));
  cpSync(path.join(root, "images/versions.json"), into("images/versions.json"));
  cpSync(path.join(root, "src"), into("src"), {
    recursive: true,
    filter: (from) => !from.endsWith("/native"),
  });
  for (const name of nativeParts()) cpSync(path.join(root, "build", name), into("build", name));
  // A tool's image runs this one, and nothing else of ours.
  cpSync(path.join(root, "build/copy-tree"), into("bin/copy-tree"));
  copyDependencies(into);
  for (const name of ["built-program.js", "package.json"])
    cpSync(path.join(root, "bin", name), into("bin", name));
  await buildPrograms(target);
  // A pod has no supervisor: the manager is it.
  for (const file of readdirSync(into("build/programs")))
    if (file.startsWith("supervisor")) rmSync(into("build/programs", file));
  return { bytes: sizeOf(target), packages: packagesOf(into("node_modules")) };
}

function need(program) {
  const found = findOnPath(program);
  if (found !== null) return found;
  throw new Error(`Expected "${program}" on PATH; install it: ${installCommand("containers")}`);
}

/** Node, without its debugging symbols, bound to a loader and libraries of its own. */
function copyNode(into) {
  const node = path.join(root, `node_modules/node-linux-${process.arch}/bin/node`);
  cpSync(node, into("bin/node"));
  execFileSync("strip", [into("bin/node")]);
  for (const [, name, file] of execFileSync("ldd", [node], { encoding: "utf8" }).matchAll(
    /^\s*(?:(\S+) => )?(\/\S+) \(0x/gm,
  )) {
    const isLoader = name === undefined || path.basename(file).startsWith("ld-linux");
    cpSync(realpathSync(file), into("lib", isLoader ? "ld.so" : name));
  }
  execFileSync("patchelf", [
    "--set-interpreter",
    `${HOME}/lib/ld.so`,
    "--set-rpath",
    `${HOME}/lib`,
    // Found before what an image's LD_LIBRARY_PATH names: another C library would not fit our loader.
    "--force-rpath",
    into("bin/node"),
  ]);
  chmodSync(into("bin/node"), 0o755);
  // Where bin/agentkube.js looks for the pinned Node.
  mkdirSync(into(`node_modules/node-linux-${process.arch}/bin`), { recursive: true });
  symlinkSync("../../../bin/node", into(`node_modules/node-linux-${process.arch}/bin/node`));
}

/** What package.json names as dependencies, and what these need; the lock file says where each lies. */
function copyDependencies(into) {
  const lock = JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8"));
  for (const [place, facts] of Object.entries(lock.packages)) {
    const isOurs =
      place !== "" && facts.dev !== true && facts.devOptional !== true && facts.optional !== true;
    if (!isOurs || BUILDS_ONLY.test(place) || !existsSync(path.join(root, place))) continue;
    cpSync(path.join(root, place), into(place), {
      recursive: true,
      // Packages inside this one have rows of their own in the lock file.
      filter: (from) =>
        !LEFT_OUT.test(from) &&
        !NOT_RUN.test(from) &&
        !from.slice(root.length + place.length).includes("/node_modules"),
    });
  }
}

function packagesOf(modules) {
  const found = execFileSync(
    "find",
    [modules, "-name", "package.json", "-path", "*/node_modules/*"],
    { encoding: "utf8" },
  );
  return found
    .split("\n")
    .filter((file) => /\/node_modules\/(?:@[^/]+\/)?[^/]+\/package\.json$/.test(file)).length;
}

function sizeOf(dir) {
  return Number(execFileSync("du", ["-sb", dir], { encoding: "utf8" }).split("\t")[0]);
}
