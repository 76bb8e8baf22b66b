import { generateKeySync } from "node:crypto";
import { mkdir, mkdtemp, realpath, rm, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Log, silentLog } from "../kit/log.ts";
import { errnoOf } from "../kit/platform-error.ts";
import type { ToolCallResult } from "../protocol/results.ts";
import type { RunTool } from "../protocol/run-spec.ts";
import type { SecretSource } from "../protocol/secret-source.ts";
import { Boundary } from "./boundary/boundary.ts";
import { CallRequests } from "./call-requests.ts";
import { CallSecrets } from "./call-secrets.ts";
import { workspaceOf } from "./call-workspace.ts";
import { McpServers } from "./mcp/mcp-servers.ts";
import type { LoadedOperation, ToolProblem } from "./operations.ts";
import { CallQueue } from "./queue.ts";
import { repliedFiles } from "./result-files.ts";
import { runToolCall } from "./run-tool-call.ts";
import type { CallResult, ToolRunner } from "./tool-runner.ts";
import { WorkspaceFlows } from "./workspace-flows.ts";
import { loadTool, loadTools } from "./tools.ts";

export interface LocalCall {
  tool: RunTool;
  operation: string;
  args: unknown;
  /** NAME/KEY to value; the buffers are overwritten when the call is over */
  secrets: ReadonlyMap<string, Buffer>;
  /** where they are read again at every use, by NAME/KEY */
  sources?: ReadonlyMap<string, SecretSource>;
  /** real path of the directory that the tool sees as its workspace; null when there is none */
  workspace: string | null;
  signal: AbortSignal;
  log?: Log;
}

/** What keeps a tool from running; empty when it may. `tool.packageDir` may be the package itself or its copy in the store. */
export function checkTool(tool: RunTool): ToolProblem[] {
  return loadTool(tool).problems;
}

/**
 * Runs one operation without a run: same sandbox, same boundary, no audit. Rejects with `PlatformError` when the tool itself
 * is not good (`tool_invalid`, `secret_missing`); whatever comes of the call is its outcome.
 */
export async function callToolLocally(options: LocalCall): Promise<ToolCallResult> {
  await using runner = await LocalRunner.open(options);
  runner.parts.secrets.require(runner.parts.tools.values());
  const { tool, operation, args, signal } = options;
  return resultOf(
    await runToolCall(
      runner.parts,
      { tool: tool.name, operation, arguments: args, face: "cli" },
      signal,
    ),
  );
}

/** The operations of a tool; an MCP server is started and asked, without credentials and network. Rejects with `mcp_unavailable`. */
export async function describeTool(
  options: Pick<LocalCall, "tool" | "signal" | "log">,
): Promise<{ operations: LoadedOperation[]; problems: ToolProblem[] }> {
  await using runner = await LocalRunner.open({ ...options, secrets: new Map(), workspace: null });
  const [tool] = runner.parts.tools.values();
  if (tool === undefined) return { operations: [], problems: [] };
  const { servers } = runner.parts;
  const operations = await servers.operationsOf(tool, options.signal, { alone: true });
  const problems = await servers.problemsOf(tool, options.signal);
  return { operations: [...operations.values()], problems };
}

/** What a run has around its tools, for one tool and no run. */
class LocalRunner implements AsyncDisposable {
  readonly parts: ToolRunner;
  readonly #directory: string;
  readonly #ended: AbortController;

  private constructor(parts: ToolRunner, directory: string, ended: AbortController) {
    this.parts = parts;
    this.#directory = directory;
    this.#ended = ended;
  }

  static async open(
    options: Pick<LocalCall, "tool" | "secrets" | "sources" | "workspace" | "log">,
  ): Promise<LocalRunner> {
    const { tool, log = silentLog } = options;
    const tools = loadTools([tool]);
    const secrets = new CallSecrets(options.secrets, tools.values(), {
      sources: Object.fromEntries(options.sources ?? []),
    });
    const workspace = options.workspace === null ? null : { path: options.workspace, covers: [] };
    const requests = new CallRequests();
    const boundary = new Boundary({
      run: "local",
      log,
      onRequest: (record) => requests.take(record),
      hosts: (tool.spec.sandbox?.network ?? []).map(({ host }) => host),
    });
    const ended = new AbortController();
    const directory = await mkdtemp(join(await realpath(tmpdir()), "agentkube-call-"));
    await mkdir(join(directory, "calls"), { mode: 0o700 });
    const parts: ToolRunner = {
      run: "local",
      tools,
      secrets,
      boundary,
      requests,
      servers: new McpServers({
        secrets,
        boundary,
        workspaceOf: (wanting) => workspaceOf({ workspace }, wanting, null),
        log,
        ended: ended.signal,
      }),
      queue: new CallQueue({ running: 1, waiting: 0 }),
      flows: new WorkspaceFlows(),
      merges: new CallQueue({ running: 1, waiting: 0 }),
      workspace,
      callsDir: join(directory, "calls"),
      keepDir: join(directory, "unmerged"),
      auditKey: generateKeySync("hmac", { length: 256 }),
      record: () => undefined,
      mark: () => undefined,
      ended: ended.signal,
      log,
    };
    return new LocalRunner(parts, directory, ended);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await this.parts.servers[Symbol.asyncDispose]();
    this.parts.secrets.wipe();
    await removeDirectory(this.#directory);
  }
}

function resultOf(result: CallResult): ToolCallResult {
  const { outcome, exitCode, stdout, stderr, tier, durationMs, detail, requests, files } = result;
  return {
    outcome,
    exitCode,
    stdout,
    stderr,
    tier,
    durationMs,
    ...repliedFiles(files),
    ...(detail === undefined ? {} : { detail }),
    requests: requests.map(({ credential, method, host, path, status, verdict }) => ({
      credential,
      method,
      host,
      path,
      status,
      verdict,
    })),
  };
}

/** All but a version of the workspace that was kept for a person, which its result names. */
async function removeDirectory(directory: string): Promise<void> {
  await rm(join(directory, "calls"), { recursive: true, force: true });
  await rmdir(directory).catch((error: unknown) => {
    if (errnoOf(error) !== "ENOTEMPTY") throw error;
  });
}
