import { resolve } from "node:path";
import { setSandboxSearchPath } from "../../kit/bubblewrap-zone.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import type { ToolCallResult } from "../../protocol/results.ts";
import { resolveDataDir } from "../data-dir.ts";
import { humanSpan, oneLine, withoutControls } from "../human.ts";
import { UsageError } from "../output.ts";
import { nearest } from "../suggest.ts";
import type { ToolAction, ToolContext } from "./action.ts";
import { callTool, explainTool } from "./call-tool.ts";
import { showExplanation } from "./explain.ts";
import { saveFiles } from "./save-files.ts";
import { chooseTool, readToolFiles } from "./tool-files.ts";

/** `agentkube tool call`: one operation, in the same sandbox and behind the same boundary as in a run. */
export const call: ToolAction = {
  words: { min: 1, max: 2, expected: "a directory or a manifest, and an operation" },
  run: runCall,
};

async function runCall(
  context: ToolContext,
  [word = ".", operation]: readonly string[],
): Promise<number> {
  const { values, output, env, cwd } = context;
  const files = await readToolFiles(word, cwd);
  const tool = chooseTool(files, word, values.tool);
  const known = (tool.value.spec.operations ?? []).map(({ name }) => name);
  // The tools of an MCP server are known once it runs; the runner refuses one that it has not.
  const isServed = tool.value.spec.mcp !== undefined;
  if (operation === undefined || (!isServed && !known.includes(operation)))
    throw unknownOperation(tool.value.metadata.name, operation, known);
  const words = {
    operation,
    args: values.args ?? null,
    secrets: values.secret ?? [],
    workspace: values.workspace ?? null,
  };
  const place = { dataDir: resolveDataDir(values.data, env, cwd), cwd, env };
  if (values.explain === true) {
    const explained = await explainTool(tool, files, words, place);
    if (output.json) output.document(explained);
    else showExplanation(explained, output);
    return ExitCode.done;
  }
  setSandboxSearchPath(env["PATH"] ?? "");
  const stop = new AbortController();
  const stopSignals = context.onSignal(() => stop.abort());
  let result: ToolCallResult;
  try {
    result = await callTool(tool, files, words, place, stop.signal);
  } finally {
    stopSignals();
  }
  if (values["files-to"] !== undefined)
    result = await saveFiles(result, resolve(cwd, values["files-to"]));
  if (output.json) output.document(result);
  else show(result, context);
  return exitCodeOf(result);
}

function show(result: ToolCallResult, { output }: ToolContext): void {
  const { stdout, stderr } = output;
  stdout.write(stdout.isTTY === true ? withoutControls(result.stdout) : result.stdout);
  stderr.write(stderr.isTTY === true ? withoutControls(result.stderr) : result.stderr);
  const { outcome, exitCode, durationMs, tier, detail, requests } = result;
  const { files = [], omittedFiles = [] } = result;
  for (const { path, mediaType, bytes, savedAs } of files)
    output.note(
      `file ${oneLine(path)} (${mediaType}, ${bytes} bytes)${savedAs === undefined ? "" : ` → ${oneLine(savedAs)}`}`,
    );
  for (const { path, why } of omittedFiles)
    output.note(`file ${oneLine(path)} left out: ${why.replaceAll("_", " ")}`);
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
