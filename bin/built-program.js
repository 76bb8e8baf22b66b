// Runs a program as `scripts/build-programs.mjs` built it: all of its modules in one file, with V8's compiled code beside it.
// It is taken only while every source is what it was built from; else the sources run as they are written, which is slower.
const { readFileSync, statSync } = require("node:fs");
const { createRequire } = require("node:module");
const { join } = require("node:path");
const { pathToFileURL } = require("node:url");
const vm = require("node:vm");

/** Programs with a file of their own, by their verb; all other verbs share `cli`. */
const PROGRAMS = ["agentlet", "session-recorder", "tool-runner", "manager", "supervisor"];

/** Starts the program of this verb. False, and nothing is started, when it is not built or a source has changed since. */
function runBuiltProgram(root, verb) {
  const built = readBuilt(root, PROGRAMS.includes(verb) ? verb : "cli");
  if (built === null) return false;
  compileProgram(root, built.file, built.text, built.cache).start();
  return true;
}

/** A built program, while all that it was built from is as it was; else null. */
function readBuilt(root, name) {
  const dir = join(root, "build/programs");
  try {
    const { code, cache, inputs } = JSON.parse(readFileSync(join(dir, `${name}.json`), "utf8"));
    // Some hundred paths, each plain already: joining them anew took as long as looking at them.
    if (!inputs.every(([path, ...facts]) => `${facts}` === `${factsOf(`${root}/${path}`)}`))
      return null;
    const file = join(dir, code);
    // It is ASCII: read so, its text takes one byte a character for as long as the program lives.
    return { file, text: readFileSync(file, "latin1"), cache: readFileSync(join(dir, cache)) };
  } catch {
    // Not built, or being built anew at this moment.
    return null;
  }
}

/** What says that a file is still the same, also in a copy and in an image's layer, whose times have no fractions. */
function factsOf(path) {
  const { size, mtimeMs } = statSync(path);
  return [size, Math.floor(mtimeMs / 1000)];
}

/** Compiles a built program. A `cache` of another version of V8, or of one with other options, is left unused. */
function compileProgram(root, file, text, cache) {
  const script = new vm.Script(`(function (require, rootUrl) {${text}\n})`, {
    filename: file,
    ...(cache === undefined ? {} : { cachedData: cache }),
  });
  return {
    isCompiled: script.cachedDataRejected === false,
    start: () => script.runInThisContext()(createRequire(file), pathToFileURL(`${root}/`).href),
    compiledCode: () => script.createCachedData(),
  };
}

module.exports = { PROGRAMS, runBuiltProgram, readBuilt, factsOf, compileProgram };
