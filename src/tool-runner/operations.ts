import { posix } from "node:path";
import { messageOf } from "../kit/platform-error.ts";
import type { Operation } from "../protocol/tool-manifest.ts";
import type { RunTool } from "../protocol/run-spec.ts";
import { compileSchema, type SchemaCheck } from "./argument-schema.ts";
import { parseWord, type ArgumentPlan, type Piece } from "./arguments.ts";
import { parseFilePattern, type FilePattern } from "./file-patterns.ts";
import { checkProgram } from "./program-check.ts";
import { lookUp, PACKAGE_DIR, viewOf } from "./sandbox-view.ts";

/** Something in a Tool that keeps it from running: where, what, and what to do. */
export interface ToolProblem {
  path: string;
  problem: string;
  fix?: string;
}

/** An operation, compiled: its arguments can be checked and rendered without looking at the manifest again. */
export interface LoadedOperation extends ArgumentPlan {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: Record<string, unknown>;
  readonly outputSchema: Record<string, unknown> | null;
  readonly checkOutput: SchemaCheck | null;
  /** files that a call gives as results */
  readonly files: readonly FilePattern[];
}

/** Compiles one operation; what is wrong with it goes to `problems`. */
export function loadOperation(
  operation: Operation,
  path: string,
  tool: RunTool,
  problems: ToolProblem[],
): LoadedOperation {
  const inputSchema = objectSchema(operation.inputSchema, `${path}.inputSchema`, problems);
  const known = Object.keys(inputSchema["properties"] ?? {});
  const words = operation.command.map((word, index) => {
    try {
      return loadWord(word, index, known);
    } catch (error) {
      problems.push({ path: `${path}.command[${index}]`, problem: messageOf(error) });
      return [];
    }
  });
  const program = programOf(operation.command[0] ?? "", `${path}.command[0]`, tool, problems);
  words[0] = [{ literal: program }];
  for (const name of operation.allowDash ?? []) {
    if (!known.includes(name))
      problems.push({ path: `${path}.allowDash`, problem: unknownArgument(name, known) });
  }
  const files = (operation.files ?? []).flatMap((pattern, index) => {
    try {
      return [parseFilePattern(pattern)];
    } catch (error) {
      problems.push({
        path: `${path}.files[${index}]`,
        problem: messageOf(error),
        fix: 'write for example "report.pdf" or "charts/*.png"',
      });
      return [];
    }
  });
  const outputSchema =
    operation.outputSchema === undefined
      ? null
      : objectSchema(operation.outputSchema, `${path}.outputSchema`, problems);
  return {
    name: operation.name,
    description: operation.description ?? "",
    inputSchema,
    outputSchema,
    check: compileOrReport(inputSchema, `${path}.inputSchema`, problems),
    checkOutput:
      outputSchema === null
        ? null
        : compileOrReport(outputSchema, `${path}.outputSchema`, problems),
    files,
    known,
    words,
    allowDash: new Set(operation.allowDash),
    stdin: operation.stdin ?? "none",
  };
}

/** A schema of an object, as MCP wants it; without a schema there are no arguments. */
function objectSchema(
  schema: Record<string, unknown> | undefined,
  path: string,
  problems: ToolProblem[],
): Record<string, unknown> {
  if (schema === undefined) return { type: "object", properties: {}, additionalProperties: false };
  if (schema["type"] !== undefined && schema["type"] !== "object")
    problems.push({ path: `${path}.type`, problem: 'expected "object"' });
  const { properties } = schema;
  if (properties !== undefined && (typeof properties !== "object" || properties === null))
    problems.push({ path: `${path}.properties`, problem: "expected an object of schemas" });
  return { ...schema, type: "object" };
}

function compileOrReport(
  schema: Record<string, unknown>,
  path: string,
  problems: ToolProblem[],
): SchemaCheck {
  try {
    return compileSchema(schema);
  } catch (error) {
    problems.push({ path, problem: messageOf(error) });
    return () => ["the schema of this operation is not valid"];
  }
}

function loadWord(word: string, index: number, known: string[]): Piece[] {
  if (word.includes("\0")) throw new Error("a word of a command cannot hold NUL");
  const pieces = parseWord(word);
  for (const piece of pieces) {
    if (!("name" in piece)) continue;
    if (index === 0) throw new Error("the program of a command cannot come from an argument");
    if (!known.includes(piece.name)) throw new Error(unknownArgument(piece.name, known));
  }
  return pieces;
}

function unknownArgument(name: string, known: string[]): string {
  const names = known.length === 0 ? "it declares none" : `it declares ${known.join(", ")}`;
  return `"${name}" is not a property of inputSchema; ${names}`;
}

/** The program's path inside the sandbox, after a look that it could be started there. */
export function programOf(
  word: string,
  path: string,
  { packageDir }: RunTool,
  problems: ToolProblem[],
): string {
  const report = (problem: string, fix: string): string => {
    problems.push({ path, problem, fix });
    return word;
  };
  const view = viewOf(packageDir);
  const program = word.startsWith("./") ? posix.join(PACKAGE_DIR, word) : posix.normalize(word);
  if (!program.startsWith("/"))
    return report(`"${word}" is neither absolute nor begins with ./`, "write /usr/bin/… or ./…");
  const inPackage = isBelow(PACKAGE_DIR, program);
  if (word.startsWith("./") && !inPackage)
    return report(`"${word}" leaves the package`, "name a file inside the package");
  if (inPackage && packageDir === null)
    return report(`"${word}" is a file of the package, and the tool has none`, "set package");
  const isThere =
    inPackage ||
    (view.root === null
      ? /^\/(?:usr|bin|sbin|lib|lib64)\//.test(program)
      : !OURS.some((place) => isBelow(place, program)));
  if (!isThere)
    return report(
      `"${word}" is not in the tool's sandbox`,
      "use a program in /usr or in the package",
    );
  const found = lookUp(view, program);
  if (inPackage && view.files !== null && found !== null && !isBelow(PACKAGE_DIR, found.path))
    return report(`"${word}" is a link that leaves the package`, "put the file itself into it");
  const problem = checkProgram(view, program);
  return problem === null ? program : report(problem.problem, problem.fix);
}

/** Places of the sandbox that are ours, whatever a root file system has there. */
const OURS = ["/dev", "/proc", "/tmp", "/workspace", "/opt/agentkube"];

function isBelow(directory: string, path: string): boolean {
  return path.startsWith(`${directory}/`);
}
