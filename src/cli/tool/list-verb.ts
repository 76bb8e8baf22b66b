import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { refuseProblems } from "../manifests/problems.ts";
import { setSandboxSearchPath } from "../../kit/bubblewrap-zone.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import type { Tool } from "../../protocol/tool-manifest.ts";
import { describeTool } from "../../tool-runner/local-call.ts";
import { removePackage } from "../../tool-runner/packages.ts";
import { humanTable, oneLine } from "../human.ts";
import type { Placed } from "../manifests/load.ts";
import { storeTool } from "../store-tools.ts";
import type { ToolAction, ToolContext } from "./action.ts";
import { readToolFiles } from "./tool-files.ts";

/** `agentkube tool ls`: operations under the names that agents see. */
export const list: ToolAction = {
  words: { min: 0, max: 1, expected: "a directory, a manifest or an archive" },
  run: runList,
};

interface ListedOperation {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: Record<string, unknown>;
}

async function runList(context: ToolContext, [word = "."]: readonly string[]): Promise<number> {
  const { output, cwd, env } = context;
  setSandboxSearchPath(env["PATH"] ?? "");
  const { tools, problems } = await readToolFiles(word, cwd);
  refuseProblems(problems);
  const stop = new AbortController();
  const stopSignals = context.onSignal(() => stop.abort());
  const rows = [];
  try {
    for (const tool of tools) {
      const { metadata, spec } = tool.value;
      for (const operation of await operationsOf(tool, stop.signal))
        rows.push({
          tool: metadata.name,
          operation: operation.name,
          mcpName: `${metadata.name}_${operation.name}`,
          description: operation.description,
          inputSchema: operation.inputSchema,
          file: tool.place.file,
          credentials: (spec.credentials ?? []).map(({ name }) => name),
          hosts: (spec.sandbox?.network ?? []).map(({ host, port }) => `${host}:${port ?? 443}`),
        });
    }
  } finally {
    stopSignals();
  }
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

/** As the manifest says; an MCP server is started in its sandbox and asked. */
async function operationsOf(tool: Placed<Tool>, signal: AbortSignal): Promise<ListedOperation[]> {
  const { spec } = tool.value;
  if (spec.mcp === undefined)
    return (spec.operations ?? []).map(({ name, description, inputSchema }) => ({
      name,
      description: description ?? spec.description ?? "",
      inputSchema: inputSchema ?? { type: "object", properties: {}, additionalProperties: false },
    }));
  const directory = await mkdtemp(join(tmpdir(), "agentkube-list-"));
  try {
    return (await describeTool({ tool: await storeTool(tool, directory, signal), signal }))
      .operations;
  } finally {
    await removePackage(directory);
  }
}
