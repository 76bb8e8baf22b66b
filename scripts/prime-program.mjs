// Runs a built program with words that end it soon, and keeps what V8 compiled until then; started by build-programs.mjs.
//   node scripts/prime-program.mjs ROOT FILE CACHE WORD…
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { compileProgram } from "../bin/built-program.js";

const [root, file, cache, ...words] = process.argv.slice(2);
process.argv = [process.execPath, path.join(root, "bin/agentkube.js"), ...words];
const program = compileProgram(root, file, readFileSync(file, "latin1"));
process.once("exit", () => {
  const temporary = `${cache}.${process.pid}`;
  writeFileSync(temporary, program.compiledCode());
  renameSync(temporary, cache);
});
program.start();
