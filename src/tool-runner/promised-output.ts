import { messageOf } from "../kit/platform-error.ts";
import type { CallEnd } from "./call-end.ts";
import type { LoadedOperation } from "./operations.ts";
import { parseStrictJson } from "./strict-json.ts";

/**
 * The end of a call whose tool says that all went well: with an `outputSchema`, only when its output is one JSON document that
 * fits. Else it ends with exit code 1 and the reason, as when an MCP server breaks its promise, on every face.
 */
export function holdToSchema(
  { checkOutput }: Pick<LoadedOperation, "checkOutput">,
  end: CallEnd,
  stdout: string,
): CallEnd {
  if (checkOutput === null || end.outcome !== "completed" || end.exitCode !== 0) return end;
  let problems: string[];
  try {
    problems = checkOutput(parseStrictJson(stdout));
  } catch (error) {
    problems = [messageOf(error)];
  }
  if (problems.length === 0) return end;
  const cause = `The tool's output does not fit its outputSchema: ${problems.join("; ")}`;
  return { ...end, exitCode: 1, detail: { cause: cause.slice(0, 4096) } };
}
