import { PlatformError } from "../../kit/platform-error.ts";
import { setSandboxSearchPath } from "../../kit/sandbox.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import type { ToolCallResult } from "../../protocol/results.ts";
import { dataOption, defineCommand, type CommandContext } from "../command.ts";
import { resolveDataDir } from "../data-dir.ts";
import { humanSpan, humanTable, oneLine } from "../human.ts";
import { UsageError } from "../output.ts";
import { nearest } from "../suggest.ts";
import { callTool } from "../tool-call.ts";
import { problemsOf } from "../tool-check.ts";
import { chooseTool, readToolFiles, refuseProblems } from "../tool-files.ts";

const options = {
  tool: { type: "string", value: "NAME", help: "which Tool, when the files hold several" },
  args: {
    type: "string",
    value: "JSON",
    help: "call: the arguments, one JSON object (default {})",
  },
  secret: {
    type: "string",
    multiple: true,
    value: "NAME/KEY=FROM",
    help: "call: a credential's value, from @FILE, env:VAR or exec:COMMAND",
  },
  workspace: {
    type: "string",
    value: "DIR",
    help: "call: the tool's workspace, if it has one (default: the current directory)",
  },
  data: dataOption,
} as const;
type Context = CommandContext<typeof options>;

/** `agentkube tool`: tools without an agent. */
export const command = defineCommand({
  name: "tool",
  summary: "check and call tools locally",
  usage: [
    "tool check DIR|FILE [--tool NAME] [--json]",
    "tool call DIR|FILE OPERATION [--args JSON] [--secret NAME/KEY=FROM] [--workspace DIR] [--json]",
    "tool ls [DIR|FILE] [--json]",
  ],
  description:
    "A call runs in the same sandbox and behind the same boundary as in a run. DIR holds a tool.yaml, or other YAML files.\n" +
    "Exit codes of call: 0 the tool completed with 0, 1 it failed, 2 invalid manifest or words, 3 refused.",
  examples: [
    {
      command: "agentkube tool check ./github-issues",
      does: "says everything that keeps the tool from running",
    },
    {
      command: `agentkube tool call ./github-issues list --args '{"label":"bug"}' --secret github-token/token=@token.txt`,
      does: "runs one operation and shows its output",
    },
    {
      command: "agentkube tool ls ./tools.yaml",
      does: "lists operations under the names that agents see",
    },
  ],
  options,
  positionals: { min: 1, max: 3 },
  run: async (context) => {
    const [action = "", word, operation] = context.positionals;
    if (unsupported.includes(action))
      throw new PlatformError("unsupported", `agentkube tool ${action} is not yet supported`, {
        fix: "use agentkube tool check and agentkube tool call with a directory or a manifest",
      });
    const act = actions[action];
    if (act === undefined) throw unknownAction(action);
    if (action !== "ls" && word === undefined)
      throw new UsageError(`agentkube tool ${action} needs a directory or a manifest`);
    if (action !== "call" && operation !== undefined)
      throw new UsageError(`Unexpected word "${operation}" after agentkube tool ${action}`);
    return await act(context, word ?? ".", operation);
  },
});

const unsupported = ["new", "pack", "receipt"];
const actions: Record<
  string,
  (context: Context, word: string, operation: string | undefined) => Promise<number>
> = { check, call, ls: list };

async function check({ values, output, cwd }: Context, word: string): Promise<number> {
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

async function call(
  context: Context,
  word: string,
  operation: string | undefined,
): Promise<number> {
  const { values, output, env, cwd } = context;
  const files = readToolFiles(word, cwd);
  const tool = chooseTool(files, word, values.tool);
  const known = (tool.value.spec.operations ?? []).map(({ name }) => name);
  if (operation === undefined || !known.includes(operation))
    throw unknownOperation(tool.value.metadata.name, operation, known);
  setSandboxSearchPath(env["PATH"] ?? "");
  const stop = new AbortController();
  const stopSignals = context.onSignal(() => stop.abort());
  let result: ToolCallResult;
  try {
    result = await callTool(
      tool,
      files,
      {
        operation,
        args: values.args ?? "{}",
        secrets: values.secret ?? [],
        workspace: values.workspace ?? null,
      },
      { dataDir: resolveDataDir(values.data, env, cwd), cwd, env },
      (text) => output.note(text),
      stop.signal,
    );
  } finally {
    stopSignals();
  }
  if (output.json) output.document(result);
  else show(result, context);
  return exitCodeOf(result);
}

function show(result: ToolCallResult, { output }: Context): void {
  output.stdout.write(result.stdout);
  output.stderr.write(result.stderr);
  const { outcome, exitCode, durationMs, tier, detail, requests } = result;
  for (const { method, host, path, status, verdict, credential } of requests)
    output.note(
      `${oneLine(`${method} ${host}${path}`)}: ${verdict} ${status ?? "no status"}${credential === null ? "" : `, with ${credential}`}`,
    );
  const code = exitCode === null ? "" : ` ${exitCode}`;
  output.note(
    `${outcome}${code} in ${humanSpan(durationMs)}${tier === null ? "" : `, tier ${tier}`}`,
  );
  if (detail === undefined) return;
  output.note(`  cause: ${oneLine(detail.cause)}`);
  if (detail.path !== undefined) output.note(`  path:  ${oneLine(detail.path)}`);
  if (detail.fix !== undefined) output.note(`  fix:   ${oneLine(detail.fix)}`);
}

function exitCodeOf({ outcome, exitCode }: ToolCallResult): number {
  if (outcome === "refused") return ExitCode.refused;
  if (outcome === "cancelled") return ExitCode.cancelled;
  return outcome === "completed" && exitCode === 0 ? ExitCode.done : ExitCode.failed;
}

function list({ output, cwd }: Context, word: string): Promise<number> {
  const { tools, problems } = readToolFiles(word, cwd);
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
  return Promise.resolve(ExitCode.done);
}

function unknownOperation(
  tool: string,
  operation: string | undefined,
  known: readonly string[],
): UsageError {
  const there = `Tool "${tool}" has ${known.join(", ") || "no operations"}`;
  if (operation === undefined)
    return new UsageError(`agentkube tool call needs an operation; ${there}`);
  const near = nearest(operation, known);
  return new UsageError(
    `Unknown operation "${operation}"; ${there}`,
    near === undefined ? undefined : `did you mean ${near}?`,
  );
}

function unknownAction(action: string): UsageError {
  const known = Object.keys(actions);
  const near = nearest(action, known);
  return new UsageError(
    `Unknown verb "tool ${action}"`,
    near === undefined ? `use one of ${known.join(", ")}` : `did you mean tool ${near}?`,
  );
}
