#!/usr/bin/env node
// Puts all modules of each of our programs into one file with V8's compiled code beside it, in build/programs: they start in half
// the time and take less memory. Does nothing when no source has changed. Plain JavaScript; npm runs it as postinstall.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { factsOf, PROGRAMS, readBuilt } from "../bin/built-program.js";

const here = fileURLToPath(new URL("../", import.meta.url));
const PRIME_LIMIT_MS = 60_000;
/** As in src/cli/node-options.ts: V8 takes compiled code only under the options that it was compiled with. */
const SMALL_HEAP = ["--max-semi-space-size=1", "--expose-gc"];
/**
 * Each program: which of the modules that src/cli loads when they are needed it has, words that load them and end at once, and
 * Node's options.
 */
const MADE_OF = {
  agentlet: {
    own: /^(?:cli\/commands\/agentlet|agentlet\/.*)\.ts$/,
    words: ["agentlet"],
    options: SMALL_HEAP,
  },
  "session-recorder": {
    own: /^(?:cli\/commands\/entry-points|recorder\/main)\.ts$/,
    words: ["session-recorder"],
    options: SMALL_HEAP,
  },
  "tool-runner": {
    own: /^(?:cli\/commands\/entry-points|tool-runner\/main)\.ts$/,
    words: ["tool-runner"],
    options: SMALL_HEAP,
  },
  manager: {
    own: /^(?:cli\/commands\/entry-points|manager\/main)\.ts$/,
    words: ["manager", "--port", "none"],
    options: [],
  },
  supervisor: {
    own: /^cli\/(?:commands\/entry-points|supervisor)\.ts$/,
    words: ["supervisor"],
    options: [],
  },
  cli: { own: /^cli\/commands(?:\/.*)?\.ts$/, words: ["run", "--help"], options: [] },
};
/** Besides our sources, what a built program depends on: another compiler or other packages make another program. */
const ALSO_INPUTS = ["package-lock.json", "scripts/build-programs.mjs", "bin/built-program.js"];

/** Builds what is out of date beneath `root`. Returns the names it built. Throws an Error whose message names the cause. */
export async function buildPrograms(root = here) {
  const stale = [...PROGRAMS, "cli"].filter((name) => readBuilt(root, name) === null);
  if (stale.length === 0) return [];
  const { build } = await import("esbuild");
  mkdirSync(path.join(root, "build/programs"), { recursive: true });
  await Promise.all(stale.map((name) => buildProgram(build, root, name)));
  return stale;
}

async function buildProgram(build, root, name) {
  const dir = path.join(root, "build/programs");
  const result = await build({
    absWorkingDir: root,
    entryPoints: ["src/cli/main.ts"],
    bundle: true,
    platform: "node",
    format: "cjs",
    // As written: lowered, a `using` in a loop throws again what an earlier round threw (docs/discoveries).
    target: "esnext",
    write: false,
    metafile: true,
    legalComments: "none",
    logLevel: "silent",
    plugins: [modulesOf(root, MADE_OF[name].own)],
  });
  const text = escaped(result.outputFiles[0].text);
  const inputs = Object.keys(result.metafile.inputs)
    .filter((input) => input.startsWith("src/"))
    .concat(ALSO_INPUTS)
    .filter((input) => existsSync(path.join(root, input)))
    .map((input) => [input, ...factsOf(path.join(root, input))]);
  const digest = createHash("sha256").update(text).digest("hex").slice(0, 16);
  const [code, cache] = [`${name}-${digest}.js`, `${name}-${digest}.cache`];
  await put(path.join(dir, code), text);
  await prime(root, name, path.join(dir, code), path.join(dir, cache));
  // The last: whoever reads this finds the other two.
  await put(path.join(dir, `${name}.json`), `${JSON.stringify({ code, cache, inputs })}\n`);
  const old = new RegExp(`^${name}-[0-9a-f]{16}\\.(?:js|cache)$`);
  for (const file of readdirSync(dir))
    if (old.test(file) && file !== code && file !== cache)
      rmSync(path.join(dir, file), { force: true });
}

/** Modules know where they lie, also when they are in one file; those of other programs are left out. */
function modulesOf(root, own) {
  const src = path.join(root, "src");
  return {
    name: "modules",
    setup(build) {
      build.onResolve({ filter: /^\./ }, ({ kind, importer, resolveDir, path: name }) => {
        const file = path.relative(src, path.resolve(resolveDir, name));
        if (kind !== "dynamic-import" || !importer.startsWith(path.join(src, "cli/"))) return null;
        return own.test(file) ? null : { path: file, namespace: "left-out" };
      });
      build.onLoad({ filter: /.*/, namespace: "left-out" }, ({ path: file }) => ({
        contents: `throw new Error(${JSON.stringify(`${file} is not part of this program`)});`,
      }));
      build.onLoad({ filter: /\.ts$/ }, async ({ path: file }) => {
        if (!file.startsWith(`${src}/`)) return null;
        const place = JSON.stringify(path.relative(root, file));
        const text = await readFile(file, "utf8");
        return {
          contents: text.replaceAll("import.meta.url", `new URL(${place}, rootUrl).href`),
          loader: "ts",
        };
      });
    },
  };
}

/** esbuild leaves what is in a regular expression as it is; one such character would double the memory that the text takes. */
function escaped(text) {
  return text.replace(
    /[^\0-\x7f]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Runs it until it ends with a fault, since it is given nothing to work on, and keeps what V8 compiled. */
async function prime(root, name, file, cache) {
  const node = path.join(here, `node_modules/node-linux-${process.arch}/bin/node`);
  const { options, words } = MADE_OF[name];
  const script = path.join(here, "scripts/prime-program.mjs");
  const started = promisify(execFile)(node, [...options, script, root, file, cache, ...words], {
    timeout: PRIME_LIMIT_MS,
    env: { PATH: process.env.PATH },
  });
  started.child.stdin.end();
  const { stdout = "", stderr = "" } = await started.catch((error) => error);
  if (!existsSync(cache))
    throw new Error(`Cannot run "${file}" for its compiled code: ${`${stdout}${stderr}`.trim()}`);
}

async function put(file, text) {
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, text);
  renameSync(temporary, file);
}

if (
  process.argv[1] !== undefined &&
  path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)
) {
  try {
    const built = await buildPrograms();
    if (built.length > 0) process.stderr.write(`agentkube: built ${built.join(", ")}\n`);
  } catch (error) {
    process.stderr.write(`agentkube: ${error.message}\n`);
    process.exitCode = 1;
  }
}
