import { posix } from "node:path";
import { MAX_TIMER_MS } from "../kit/max-timer.ts";
import { PlatformError } from "../kit/platform-error.ts";
import type { Credential, NetworkRule } from "../protocol/tool-manifest.ts";
import { bytesOf, millisecondsOf } from "../protocol/quantities.ts";
import type { RunTool } from "../protocol/run-spec.ts";
import { refusedEnvironmentName } from "./environment-names.ts";
import { loadOperation, programOf, type LoadedOperation, type ToolProblem } from "./operations.ts";
import { CallQueue } from "./queue.ts";
import { PACKAGE_DIR, viewOf, type SandboxView } from "./sandbox-view.ts";

/** What a call of the tool may use, defaults filled in. */
export interface ToolSandbox {
  readonly workspace: "none" | "ro" | "rw";
  readonly network: readonly NetworkRule[];
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly memoryBytes: number;
  readonly processes: number;
  readonly scratchBytes: number;
  readonly outputBytes: number;
  /** of all result files of a call together */
  readonly filesBytes: number;
  readonly cpuMs: number;
  /** what its calls run in: what it asks for, or the standard tier when it accepts less */
  readonly tier: "standard" | "strict";
}

/** A tool that is an MCP server: its own tools are the operations. */
export interface LoadedMcp {
  readonly argv: readonly string[];
  /** which of the server's tools are offered; null: all */
  readonly allow: ReadonlySet<string> | null;
  /** a process for each call, so that whatever it asks for belongs to that call */
  readonly perCall: boolean;
}

export interface LoadedTool {
  readonly name: string;
  readonly description: string;
  readonly digest: string;
  /** what its sandbox is made of */
  readonly view: SandboxView;
  readonly sandbox: ToolSandbox;
  readonly credentials: readonly Credential[];
  /** how many of its calls run at once; null: as many as the run allows */
  readonly places: CallQueue | null;
  /** null: the operations are commands */
  readonly mcp: LoadedMcp | null;
  /** empty for an MCP server, which is asked for them */
  readonly operations: ReadonlyMap<string, LoadedOperation>;
}

/** Limits of a tool that declares none. */
export const TOOL_DEFAULTS = {
  timeout: "60s",
  memory: "512Mi",
  processes: 64,
  scratch: "256Mi",
  output: "1Mi",
  files: "4Mi",
} as const;

const MAX_FILES_BYTES = 64 * 1024 * 1024;

/** Calls that wait for a tool that limits its own; more are refused. */
const WAITING_CALLS = 64;

/** Where the agent's workspace lies in the sandbox. */
export const WORKSPACE_DIR = "/workspace";

/** Places of a tool's sandbox that a credential file may not cover. */
const FIXED_PLACES = [
  "/usr",
  "/bin",
  "/sbin",
  "/lib",
  "/proc",
  "/dev",
  "/sys",
  PACKAGE_DIR,
  WORKSPACE_DIR,
];

/** Compiles every tool of a run. Throws `PlatformError` `tool_invalid` that names every problem of every tool. */
export function loadTools(tools: readonly RunTool[]): Map<string, LoadedTool> {
  const loaded = tools.map((tool) => loadTool(tool));
  const problems = loaded.flatMap(({ problems }, index) =>
    problems.map(
      ({ path, problem, fix }) =>
        `Tool "${tools[index]?.name}", ${path}: ${problem}${fix === undefined ? "" : ` (${fix})`}`,
    ),
  );
  if (problems.length > 0) throw new PlatformError("tool_invalid", problems.join("\n"));
  return new Map(loaded.map(({ tool }) => [tool.name, tool]));
}

/** Compiles one tool. What is wrong with it is in `problems`; the tool may be used only when there are none. */
export function loadTool(tool: RunTool): { tool: LoadedTool; problems: ToolProblem[] } {
  const problems: ToolProblem[] = [];
  const { spec } = tool;
  refuseUnsupported(tool, problems);
  const operations = (spec.operations ?? []).map((operation, index) =>
    loadOperation(operation, `spec.operations[${index}]`, tool, problems),
  );
  const mcp = loadMcp(tool, problems);
  checkEnvironment(tool, problems);
  const credentials = spec.credentials ?? [];
  checkCredentialFiles(credentials, problems);
  return {
    problems,
    tool: {
      name: tool.name,
      description: spec.description ?? "",
      digest: tool.digest,
      view: viewOf(tool.packageDir),
      sandbox: sandboxOf(tool),
      credentials,
      places: placesOf(tool),
      mcp,
      operations: new Map(operations.map((operation) => [operation.name, operation])),
    },
  };
}

function placesOf({ spec }: RunTool): CallQueue | null {
  const calls = spec.sandbox?.limits?.calls;
  return calls === undefined ? null : new CallQueue({ running: calls, waiting: WAITING_CALLS });
}

function sandboxOf({ spec }: RunTool): ToolSandbox {
  const sandbox = spec.sandbox ?? {};
  const limits = sandbox.limits ?? {};
  const timeoutMs = millisecondsOf(sandbox.timeout ?? TOOL_DEFAULTS.timeout);
  return {
    workspace: sandbox.workspace ?? "none",
    network: sandbox.network ?? [],
    env: sandbox.env ?? {},
    timeoutMs,
    memoryBytes: bytesOf(limits.memory ?? TOOL_DEFAULTS.memory),
    processes: limits.processes ?? TOOL_DEFAULTS.processes,
    scratchBytes: bytesOf(limits.scratch ?? TOOL_DEFAULTS.scratch),
    outputBytes: bytesOf(limits.output ?? TOOL_DEFAULTS.output),
    filesBytes: bytesOf(limits.files ?? TOOL_DEFAULTS.files),
    // Without a limit of its own, a call may use one core for as long as it may run.
    cpuMs: limits.cpu === undefined ? timeoutMs : millisecondsOf(limits.cpu),
    tier: sandbox.tier === "strict" ? "strict" : "standard",
  };
}

function refuseUnsupported({ spec, packageDir }: RunTool, problems: ToolProblem[]): void {
  const refuse = (path: string, problem: string, fix: string): void => {
    problems.push({ path, problem, fix });
  };
  if (packageDir === null && spec.image !== undefined) {
    refuse(
      "spec.image",
      "images run in a cluster only; here a tool needs a directory",
      "set package to the directory with the executable",
    );
  }
  const tier = spec.sandbox?.tier;
  if (tier === "pod" || tier === "landlock") {
    refuse(
      "spec.sandbox.tier",
      `tier "${tier}" is not built yet; a call never runs with less than its tool accepts`,
      "ask for tier: standard or strict",
    );
  }
  if (bytesOf(spec.sandbox?.limits?.files ?? TOOL_DEFAULTS.files) > MAX_FILES_BYTES)
    refuse(
      "spec.sandbox.limits.files",
      "expected at most 64Mi: result files travel in one answer",
      "leave larger files in the workspace",
    );
  for (const [name, limit] of Object.entries({
    timeout: millisecondsOf(spec.sandbox?.timeout ?? TOOL_DEFAULTS.timeout),
    cpu: spec.sandbox?.limits?.cpu === undefined ? 1 : millisecondsOf(spec.sandbox.limits.cpu),
  })) {
    if (limit < 1 || limit > MAX_TIMER_MS)
      refuse(
        `spec.sandbox.${name}`,
        "expected between 1 ms and 24 days",
        "choose another duration",
      );
  }
}

function loadMcp(tool: RunTool, problems: ToolProblem[]): LoadedMcp | null {
  const { mcp, operations, credentials, sandbox } = tool.spec;
  if (mcp === undefined) return null;
  if (operations !== undefined && operations.length > 0)
    problems.push({
      path: "spec.mcp",
      problem: "a tool is an MCP server or has operations with commands, not both",
      fix: "make two tools of it",
    });
  if (sandbox?.limits?.files !== undefined)
    problems.push({
      path: "spec.sandbox.limits.files",
      problem: "an MCP server has no result files: what it gives is in its answers, as resources",
      fix: "remove it; limits.output bounds an answer",
    });
  const isLent = (credentials ?? []).length > 0 || (sandbox?.network ?? []).length > 0;
  if (isLent && mcp.perCall === false)
    problems.push({
      path: "spec.mcp.perCall",
      problem:
        "a server with credentials or network runs one process a call: one that outlives a call would wait for the next call's grant",
      fix: "set perCall: true, or leave it out",
    });
  const [word = "", ...rest] = mcp.command;
  const nul = mcp.command.findIndex((part) => part.includes("\0"));
  if (nul !== -1)
    problems.push({ path: `spec.mcp.command[${nul}]`, problem: "a word cannot hold NUL" });
  return {
    argv: [programOf(word, "spec.mcp.command[0]", tool, problems), ...rest],
    allow: mcp.tools === undefined ? null : new Set(mcp.tools),
    perCall: mcp.perCall ?? isLent,
  };
}

function checkEnvironment({ spec }: RunTool, problems: ToolProblem[]): void {
  const check = (name: string | undefined, path: string): void => {
    const reason = name === undefined ? null : refusedEnvironmentName(name);
    if (reason !== null) problems.push({ path, problem: reason, fix: "remove it" });
  };
  for (const [name, value] of Object.entries(spec.sandbox?.env ?? {})) {
    check(name, `spec.sandbox.env.${name}`);
    if (value.includes("\0"))
      problems.push({ path: `spec.sandbox.env.${name}`, problem: "a value cannot hold NUL" });
  }
  for (const [index, credential] of (spec.credentials ?? []).entries()) {
    check(credential.env, `spec.credentials[${index}].env`);
    check(credential.placeholderEnv, `spec.credentials[${index}].placeholderEnv`);
  }
}

function checkCredentialFiles(credentials: readonly Credential[], problems: ToolProblem[]): void {
  for (const [index, { file }] of credentials.entries()) {
    if (file === undefined) continue;
    const covered = FIXED_PLACES.find((place) => file === place || file.startsWith(`${place}/`));
    if (posix.normalize(file) !== file || file.endsWith("/") || covered !== undefined) {
      problems.push({
        path: `spec.credentials[${index}].file`,
        problem: `a credential cannot lie at "${file}"`,
        fix: "use a plain path such as /run/credentials/NAME",
      });
    }
  }
}
