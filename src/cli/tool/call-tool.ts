import { realpathSync } from "node:fs";
import { join } from "node:path";
import { refuseProblems } from "../manifests/problems.ts";
import type { Tool } from "../../protocol/tool-manifest.ts";
import { explainCall } from "../../tool-runner/explain-call.ts";
import type { ToolCallResult, ToolExplanation } from "../../protocol/results.ts";
import { callToolLocally, checkTool } from "../../tool-runner/local-call.ts";
import { PlatformError } from "../../kit/platform-error.ts";
import { parseStrictJson } from "../../tool-runner/strict-json.ts";
import { pinStore } from "../../tool-runner/store-pin.ts";
import { ruleProblems, valueProblems } from "../credential-rules.ts";
import { openDataDir } from "../data-dir.ts";
import type { Placed } from "../manifests/load.ts";
import { UsageError } from "../output.ts";
import { parseSecretWords, refuseUnused, resolveSecrets, secretFilesOf } from "../secrets.ts";
import { storeTool } from "../store-tools.ts";
import { type ToolFiles } from "./tool-files.ts";
import {
  readListeningSockets,
  refuseOverlaps,
  refuseSockets,
  resolveWorkspace,
} from "../zone-policy.ts";

/** A call of one operation as a person writes it. */
export interface CallWords {
  readonly operation: string;
  /** one JSON object; null: none given */
  readonly args: string | null;
  /** `--secret` words */
  readonly secrets: readonly string[];
  /** null: the current directory, for a tool that asks for a workspace */
  readonly workspace: string | null;
}
export interface CallPlace {
  readonly dataDir: string;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Calls one operation of a Tool: the same checks, sandbox and boundary as in a run. */
export async function callTool(
  tool: Placed<Tool>,
  files: ToolFiles,
  words: CallWords,
  place: CallPlace,
  signal: AbortSignal,
): Promise<ToolCallResult> {
  const args = parseArguments(words.args ?? "{}");
  refuseProblems(ruleProblems(tool.value));
  const secretWords = parseSecretWords(words.secrets);
  openDataDir(place.dataDir);
  const workspace = workspaceOf(tool, words, files, place);
  const needs = (tool.value.spec.credentials ?? []).map(({ name, secretRef }) => ({
    id: `${secretRef.name}/${secretRef.key}`,
    neededBy: `credential "${name}" of Tool "${tool.value.metadata.name}"`,
  }));
  refuseUnused(
    secretWords,
    needs.map((need) => need.id),
  );
  const { values, sources } = await resolveSecrets(
    needs,
    secretWords,
    files.secrets,
    place,
    signal,
  );
  refuseProblems(valueProblems(tool.value, values));
  using _store = await pinStore(join(place.dataDir, "store"), signal);
  const stored = await storeTool(tool, place.dataDir, signal);
  refuseProblems(
    checkTool(stored).map(({ path, problem }) => `Tool "${stored.name}" ${path}: ${problem}`),
  );
  const { operation } = words;
  return await callToolLocally({
    tool: stored,
    operation,
    args,
    secrets: values,
    sources,
    workspace,
    signal,
  });
}

/** What such a call would see and may use; nothing runs, and no secret is read. */
export async function explainTool(
  tool: Placed<Tool>,
  files: ToolFiles,
  words: CallWords,
  place: CallPlace,
): Promise<ToolExplanation> {
  refuseProblems(ruleProblems(tool.value));
  openDataDir(place.dataDir);
  const workspace = workspaceOf(tool, words, files, place);
  const { signal } = new AbortController();
  using _store = await pinStore(join(place.dataDir, "store"), signal);
  const stored = await storeTool(tool, place.dataDir, signal);
  refuseProblems(
    checkTool(stored).map(({ path, problem }) => `Tool "${stored.name}" ${path}: ${problem}`),
  );
  const args = words.args === null ? null : parseArguments(words.args);
  return explainCall({ tool: stored, operation: words.operation, args, workspace });
}

function parseArguments(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseStrictJson(text);
  } catch (error) {
    const why = error instanceof PlatformError ? error.message : "the text is not JSON";
    throw new UsageError(
      `Option --args expected one JSON object: ${why}`,
      `write for example --args '{"label": "bug"}'`,
    );
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new UsageError("Option --args expected a JSON object");
  return value as Record<string, unknown>;
}

/** What the tool sees as its workspace is refused for the same reasons as an agent's. */
function workspaceOf(
  tool: Placed<Tool>,
  words: CallWords,
  files: ToolFiles,
  place: CallPlace,
): string | null {
  const wanted = tool.value.spec.sandbox?.workspace ?? "none";
  if (wanted === "none") {
    if (words.workspace === null) return null;
    throw new UsageError(
      `Tool "${tool.value.metadata.name}" has no workspace, and --workspace was given`,
      "set spec.sandbox.workspace to ro or rw, or leave --workspace out",
    );
  }
  const path = resolveWorkspace(words.workspace ?? ".", place.cwd);
  const candidates = [{ what: "workspace", path }];
  refuseOverlaps(candidates, [
    { what: "data directory", path: realpathSync(place.dataDir) },
    ...secretFilesOf(parseSecretWords(words.secrets), place.cwd).map((file) => ({
      what: "secret file",
      path: file,
    })),
    ...files.secretFiles.map((file) => ({ what: "secret manifest", path: file })),
  ]);
  refuseSockets(candidates, readListeningSockets());
  return path;
}
