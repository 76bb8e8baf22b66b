import { PlatformError } from "../kit/platform-error.ts";
import type { Operation } from "../protocol/tool-manifest.ts";
import type { ToolExplanation } from "../protocol/results.ts";
import type { RunTool } from "../protocol/run-spec.ts";
import { silentLog } from "../kit/log.ts";
import { admitArguments } from "./arguments.ts";
import { Boundary } from "./boundary/boundary.ts";
import { planCall } from "./call-sandbox.ts";
import { workspaceOf } from "./call-workspace.ts";
import { loadTools, type LoadedTool } from "./tools.ts";

export interface ExplainedCall {
  readonly tool: RunTool;
  readonly operation: string;
  /** null: none were given, and the command is shown as it is written */
  readonly args: unknown;
  /** real path of the workspace; null when there is none */
  readonly workspace: string | null;
}

/**
 * What a call would see and may use: made from the very plan that a call's sandbox is made from, without a secret in it. Throws
 * `PlatformError` for a tool or arguments that a call would refuse.
 */
export async function explainCall(call: ExplainedCall): Promise<ToolExplanation> {
  const [tool] = loadTools([call.tool]).values();
  if (tool === undefined) throw new TypeError("Expected one tool");
  const { spec } = call.tool;
  const written = (spec.operations ?? []).find(({ name }) => name === call.operation);
  const workspace = call.workspace === null ? null : { path: call.workspace, covers: [] };
  const boundary = new Boundary({
    run: "explain",
    log: silentLog,
    onRequest: () => undefined,
    hosts: tool.sandbox.network.map(({ host }) => host),
  });
  const plan = planCall({
    tool,
    argv: argvOf(tool, call, written),
    workspace: workspaceOf({ workspace }, tool, null),
    secrets: { valueOf: () => Buffer.from("a secret is here") },
    boundary,
  });
  const root = plan.root.kind === "tree" ? { target: "/", source: plan.root.path } : null;
  const mounts: ToolExplanation["mounts"] = [
    { ...(root ?? { target: "/usr", source: "/usr" }), mode: "ro" },
    ...plan.binds.map(({ target, source, mode }) => ({
      target,
      source: isCopied(tool, target) ? `a private copy of ${source}` : source,
      mode,
    })),
    ...plan.tmpfs.map(({ path }) => ({ target: path, source: "tmpfs", mode: "rw" as const })),
    ...plan.files.map(({ path }) => ({
      target: path,
      source: "made for the call",
      mode: "ro" as const,
    })),
  ];
  const { timeoutMs, cpuMs, memoryBytes, processes, scratchBytes } = tool.sandbox;
  const { outputBytes, filesBytes } = tool.sandbox;
  return {
    tool: tool.name,
    operation: call.operation,
    digest: tool.digest,
    tier: spec.sandbox?.tier ?? "standard",
    argv: plan.argv,
    stdin: tool.mcp === null ? (written?.stdin ?? "none") : "mcp",
    cwd: plan.cwd,
    mounts,
    env: Object.keys(plan.env).sort(),
    network: tool.sandbox.network.map(({ host, port }) => `${host}:${port ?? 443}`),
    credentials: credentialsOf(tool),
    files: written?.files ?? [],
    limits: { timeoutMs, cpuMs, memoryBytes, processes, scratchBytes, outputBytes, filesBytes },
  };
}

function argvOf(
  tool: LoadedTool,
  { args, operation: name }: ExplainedCall,
  written: Operation | undefined,
): string[] {
  if (tool.mcp !== null) return [...tool.mcp.argv];
  const operation = tool.operations.get(name);
  if (operation === undefined || written === undefined)
    throw new PlatformError("not_found", `No operation of ${tool.name} is named "${name}"`);
  if (args !== null) return admitArguments(operation, args).argv;
  return operation.words.map((pieces) =>
    pieces.map((piece) => ("literal" in piece ? piece.literal : `{{${piece.name}}}`)).join(""),
  );
}

function isCopied({ credentials, sandbox }: LoadedTool, target: string): boolean {
  return target === "/workspace" && sandbox.workspace !== "none" && credentials.length > 0;
}

function credentialsOf({ credentials }: LoadedTool): ToolExplanation["credentials"] {
  return credentials.map(({ name, secretRef, http, env, file }) => ({
    name,
    secret: `${secretRef.name}/${secretRef.key}`,
    delivery:
      http === undefined ? (env === undefined ? `file ${file ?? ""}` : `env ${env}`) : "http",
    exposure: http === undefined ? ("tool" as const) : ("none" as const),
    rule:
      http === undefined ? null : { hosts: http.hosts, methods: http.methods, paths: http.paths },
  }));
}
