import { ExitCode } from "../../protocol/outcome.ts";
import { oneLine } from "../human.ts";
import type { ToolAction, ToolContext } from "./action.ts";
import { problemsOf } from "./problems.ts";
import { chooseTool, readToolFiles } from "./tool-files.ts";

/** `agentkube tool check`: everything that keeps a Tool from running here. */
export const check: ToolAction = {
  words: { min: 1, max: 1, expected: "a directory or a manifest" },
  run: runCheck,
};

async function runCheck(
  { values, output, cwd }: ToolContext,
  [word = "."]: readonly string[],
): Promise<number> {
  const files = readToolFiles(word, cwd);
  if (values.tool !== undefined || (files.tools.length === 0 && files.problems.length === 0))
    chooseTool({ ...files, problems: [] }, word, values.tool);
  const chosen = files.tools.filter(
    ({ value }) => values.tool === undefined || value.metadata.name === values.tool,
  );
  const checked = [];
  for (const tool of chosen)
    checked.push({
      name: tool.value.metadata.name,
      file: tool.place.file,
      operations: (tool.value.spec.operations ?? []).map(({ name }) => name),
      problems: await problemsOf(tool),
    });
  const ok = files.problems.length === 0 && checked.every(({ problems }) => problems.length === 0);
  if (output.json) output.document({ ok, problems: files.problems, tools: checked });
  else {
    for (const problem of files.problems) output.line(oneLine(problem));
    for (const { name, operations, problems } of checked) {
      for (const problem of problems) output.line(oneLine(problem));
      if (problems.length === 0)
        output.line(`${output.paint("green", "OK")}  ${name}: ${operations.join(", ")}`);
    }
    if (!ok) output.line(output.paint("red", "NOT OK"));
  }
  return ok ? ExitCode.done : ExitCode.usage;
}
