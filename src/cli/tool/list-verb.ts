import { ExitCode } from "../../protocol/outcome.ts";
import { humanTable, oneLine } from "../human.ts";
import type { ToolAction, ToolContext } from "./action.ts";
import { readToolFiles, refuseProblems } from "./tool-files.ts";

/** `agentkube tool ls`: operations under the names that agents see. */
export const list: ToolAction = {
  words: { min: 0, max: 1, expected: "a directory or a manifest" },
  run: runList,
};

async function runList(
  { output, cwd }: ToolContext,
  [word = "."]: readonly string[],
): Promise<number> {
  const { tools, problems } = await readToolFiles(word, cwd);
  refuseProblems(problems);
  const rows = tools.flatMap(({ value: { metadata, spec }, place }) =>
    (spec.operations ?? []).map(({ name, description, inputSchema }) => ({
      tool: metadata.name,
      operation: name,
      mcpName: `${metadata.name}_${name}`,
      description: description ?? spec.description ?? "",
      inputSchema: inputSchema ?? { type: "object", properties: {}, additionalProperties: false },
      file: place.file,
      credentials: (spec.credentials ?? []).map((credential) => credential.name),
      hosts: (spec.sandbox?.network ?? []).map(({ host, port }) => `${host}:${port ?? 443}`),
    })),
  );
  if (output.json) output.document({ operations: rows });
  else if (rows.length === 0) output.note(`No Tool in "${word}"`);
  else {
    const cells = rows.map((row) => [
      row.tool,
      row.operation,
      row.mcpName,
      row.credentials.join(", ") || "–",
      oneLine(row.description),
    ]);
    const head = ["TOOL", "OPERATION", "MCP NAME", "CREDENTIALS", "WHAT IT DOES"];
    for (const line of humanTable(head, cells)) output.line(line);
  }
  return ExitCode.done;
}
