import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { setSandboxSearchPath } from "../../kit/bubblewrap-zone.ts";
import { makeDirectories } from "../../kit/make-directories.ts";
import { errnoOf, messageOf, PlatformError } from "../../kit/platform-error.ts";
import { ObjectName } from "../../protocol/ids.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import { UsageError } from "../output.ts";
import { nearest } from "../suggest.ts";
import type { ToolAction, ToolContext } from "./action.ts";
import { examineTool, sentenceOf } from "./problems.ts";
import { LANGUAGES, scaffold, type Language } from "./scaffold.ts";
import { chooseTool, readToolFiles } from "./tool-files.ts";

/** `agentkube tool new`: a directory with a tool that works. */
export const create: ToolAction = {
  words: { min: 1, max: 1, expected: "a name" },
  run: runNew,
};

async function runNew(
  { values, output, cwd, env }: ToolContext,
  [word = ""]: readonly string[],
): Promise<number> {
  const language = languageOf(values.lang);
  const dir = resolve(cwd, word);
  const name = basename(dir);
  if (!ObjectName.safeParse(name).success)
    throw new UsageError(
      `"${name}" cannot be the name of a tool`,
      "use lowercase letters, digits and -, such as github-issues",
    );
  const files = scaffold(name, language);
  makeDirectory(dir);
  for (const { path, text, executable } of files) {
    const target = join(dir, path);
    makeDirectories(dirname(target), 0o777);
    writeFileSync(target, text, { flag: "wx" });
    if (executable === true) chmodSync(target, 0o755);
  }
  const read = await readToolFiles(dir, cwd);
  const tool = chooseTool(read, dir, undefined);
  setSandboxSearchPath(env["PATH"] ?? "");
  const { faults } = await examineTool(tool, new AbortController().signal);
  const problems = faults.map(sentenceOf);
  const shown = relative(cwd, dir) || ".";
  if (output.json)
    output.document({ tool: name, dir, files: files.map(({ path }) => path), problems });
  else {
    output.line(`Made ${shown}/: ${files.map(({ path }) => path).join(", ")}`);
    output.line(`Try it: agentkube tool call ${shown} greet --args '{"name":"Ada"}'`);
    for (const problem of problems) output.note(`On this machine it cannot run yet: ${problem}`);
  }
  return ExitCode.done;
}

function languageOf(given: string | undefined): Language {
  const known = LANGUAGES.find((language) => language === given);
  if (known !== undefined) return known;
  const near = nearest(given ?? "", LANGUAGES);
  throw new UsageError(
    given === undefined ? "agentkube tool new needs --lang" : `Unknown language "${given}"`,
    near === undefined ? `use --lang ${LANGUAGES.join("|")}` : `did you mean --lang ${near}?`,
  );
}

/** Makes the directory itself anew: what is there already is somebody's work. */
function makeDirectory(dir: string): void {
  try {
    makeDirectories(dirname(dir), 0o777);
    mkdirSync(dir);
  } catch (error) {
    if (errnoOf(error) === "EEXIST")
      throw new UsageError(`"${dir}" is there already`, "choose another name, or remove it first");
    throw new PlatformError(
      "new_failed",
      `Cannot make "${dir}": ${errnoOf(error) ?? messageOf(error)}`,
      {
        path: dir,
        fix: "choose a place that is yours to write to",
        cause: error,
      },
    );
  }
}
