import { closeSync } from "node:fs";
import timers from "node:timers/promises";
import type { Log } from "../../kit/log.ts";
import { PlatformError } from "../../kit/platform-error.ts";
import { redactAll } from "../../kit/redactor.ts";
import { openSandbox, type ProgramExit, type Sandbox } from "../../kit/sandbox.ts";
import { watchLimits } from "../call-limits.ts";
import { planCall, type BoundaryTraces, type CallWorkspace } from "../call-sandbox.ts";
import type { CallSecrets } from "../call-secrets.ts";
import type { LoadedOperation } from "../operations.ts";
import type { LoadedMcp, LoadedTool } from "../tools.ts";
import { WORKSPACE_DIR } from "../tools.ts";
import {
  type CallProgress,
  endOfServer,
  keepTail,
  runaway,
  ServerProcess,
} from "./server-process.ts";
import { renderReply, type RenderedReply } from "./server-reply.ts";

/** What the servers of a run share. */
export interface McpServersOptions {
  readonly secrets: CallSecrets;
  readonly boundary: BoundaryTraces;
  /** the agent's workspace as this tool may see it; throws when it wants one and there is none */
  workspaceOf(tool: LoadedTool): CallWorkspace | null;
  readonly log: Log;
  /** aborted when the run ends: every server is killed */
  readonly ended: AbortSignal;
}

/** What a call on a server came to: its answer, or how the server ended instead. */
export type ServedCall =
  | { kind: "answered"; rendered: RenderedReply; masked: number }
  | { kind: "ended"; exit: ProgramExit; cause: string };

export interface ServedRequest {
  readonly tool: LoadedTool;
  readonly operation: LoadedOperation;
  readonly arguments: unknown;
  readonly onProgress: ((progress: CallProgress) => void) | null;
}

const TAIL_BYTES = 2048;
/** The pipe of a process closes a moment before its end is known. */
const EXIT_KNOWN_MS = 1000;
const MEBIBYTE = 1024 * 1024;

/** A server in its sandbox. Disposing it kills the sandbox. */
export class RunningServer implements AsyncDisposable {
  readonly #tool: LoadedTool;
  readonly #options: McpServersOptions;
  readonly #sandbox: Sandbox;
  readonly #server: ServerProcess;
  readonly #stopped: AbortController;
  readonly #tail: () => Buffer;
  readonly #limits: Disposable;

  private constructor(
    tool: LoadedTool,
    options: McpServersOptions,
    parts: {
      sandbox: Sandbox;
      server: ServerProcess;
      stopped: AbortController;
      tail: () => Buffer;
      limits: Disposable;
    },
  ) {
    this.#tool = tool;
    this.#options = options;
    this.#sandbox = parts.sandbox;
    this.#server = parts.server;
    this.#stopped = parts.stopped;
    this.#tail = parts.tail;
    this.#limits = parts.limits;
  }

  static async open(
    tool: LoadedTool,
    mcp: LoadedMcp,
    options: McpServersOptions,
    { isForListing }: { isForListing: boolean },
  ): Promise<RunningServer> {
    const plan = isForListing
      ? listingPlan(tool, mcp, options)
      : planCall({
          tool,
          argv: [...mcp.argv],
          workspace: options.workspaceOf(tool),
          secrets: options.secrets,
          boundary: options.boundary,
        });
    // CPU time adds up over all calls of a server; each call's own clock bounds it instead.
    delete plan.limits?.cpuSeconds;
    const stopped = new AbortController();
    const signal = AbortSignal.any([options.ended, stopped.signal]);
    const sandbox = await openSandbox(
      plan,
      { stdin: "pipe", stdout: "pipe", stderr: "pipe" },
      options.ended,
    );
    for (const descriptor of sandbox.listeners.values()) closeSync(descriptor);
    const limits = watchLimits(sandbox.pid, { ...tool.sandbox, cpuMs: Infinity }, (reason) =>
      stopped.abort(reason),
    );
    const tail = keepTail(sandbox.stderr, TAIL_BYTES);
    try {
      const server = await ServerProcess.connect(
        sandbox,
        {
          secrets: options.secrets.redaction,
          outputBytes: tool.sandbox.outputBytes,
          onRunaway: () => stopped.abort(runaway()),
        },
        signal,
      );
      const running = new RunningServer(tool, options, { sandbox, server, stopped, tail, limits });
      // A server over its limit is of no use to any of its calls.
      stopped.signal.addEventListener("abort", () => void sandbox.kill(), { once: true });
      void sandbox.closed.then(() => running.#end());
      options.log.info({ tool: tool.name }, "MCP server started");
      return running;
    } catch (error) {
      limits[Symbol.dispose]();
      if (error instanceof PlatformError)
        await Promise.race([
          sandbox.toolExit,
          timers.setTimeout(EXIT_KNOWN_MS, null, { ref: false }),
        ]);
      await sandbox.kill();
      throw await withLastWords(error, sandbox, tail, options);
    }
  }

  get closed(): Promise<void> {
    return this.#sandbox.closed;
  }

  list(signal: AbortSignal) {
    return this.#server.list(AbortSignal.any([signal, this.#stopped.signal]));
  }

  async call(request: ServedRequest, signal: AbortSignal): Promise<ServedCall> {
    const { tool, operation, onProgress } = request;
    const before = this.#server.masked;
    const ends = this.#sandbox.toolExit.then((exit) => ({ exit }));
    try {
      const answer = await Promise.race([
        this.#server
          .call(
            operation.name,
            request.arguments,
            onProgress,
            AbortSignal.any([signal, this.#stopped.signal]),
          )
          .then((result) => ({ result })),
        ends,
      ]);
      if ("exit" in answer) return await this.#endedWith(answer.exit);
      const masked = this.#server.masked - before;
      return {
        kind: "answered",
        rendered: renderReply(operation, answer.result, tool.sandbox.outputBytes),
        masked,
      };
    } catch (error) {
      if (this.#stopped.signal.aborted) {
        await this.#sandbox.kill();
        throw this.#stopped.signal.reason;
      }
      if (signal.aborted) {
        // Cancelled, and told so. A server that does not even answer a ping is stuck in that call: it goes.
        if (!(await this.#server.isAlive(this.#options.ended))) await this.#sandbox.kill();
        throw signal.reason;
      }
      // The pipe closes a moment before the end of the process is known.
      const known = await Promise.race([
        ends,
        timers.setTimeout(EXIT_KNOWN_MS, null, { ref: false }),
      ]);
      if (known !== null) return await this.#endedWith(known.exit);
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.close();
    await this.#sandbox.kill();
    this.#end();
  }

  /** Once nothing of it is left: the next call finds the seat empty. */
  async #endedWith(exit: ProgramExit): Promise<ServedCall> {
    await this.#sandbox.kill();
    return {
      kind: "ended",
      exit,
      cause: `${endOfServer(exit)}${lastWords(this.#tail(), this.#options)}`,
    };
  }

  #end(): void {
    this.#limits[Symbol.dispose]();
    this.#options.log.info(
      { tool: this.#tool.name, stderr: lastWords(this.#tail(), this.#options) },
      "MCP server ended",
    );
  }
}

/** A sandbox to ask a server for its tools in: no credential, no network, an empty workspace. */
function listingPlan(tool: LoadedTool, mcp: LoadedMcp, { boundary }: McpServersOptions) {
  const secrets = { valueOf: () => Buffer.from("agentkube-placeholder-of-a-credential") };
  const plan = planCall({ tool, argv: [...mcp.argv], workspace: null, secrets, boundary });
  if (tool.sandbox.workspace === "none") return plan;
  plan.tmpfs.push({ path: WORKSPACE_DIR, bytes: MEBIBYTE });
  return { ...plan, cwd: WORKSPACE_DIR };
}

async function withLastWords(
  error: unknown,
  sandbox: Sandbox,
  tail: () => Buffer,
  options: McpServersOptions,
): Promise<unknown> {
  if (!(error instanceof PlatformError) || error.code !== "mcp_unavailable") return error;
  const exit = await sandbox.toolExit;
  const how = exit.kind === "lost" ? error.message : endOfServer(exit);
  return new PlatformError("mcp_unavailable", `${how}${lastWords(tail(), options)}`, {
    cause: error,
    fix: "try the server with agentkube tool call; it speaks MCP on its standard input and output",
  });
}

function lastWords(tail: Buffer, { secrets }: McpServersOptions): string {
  const clean = redactAll(secrets.redaction, tail);
  const words = clean.toString("utf8").trim().split("\n").slice(-5).join("\n");
  return words === "" ? "" : `; its last words:\n${words}`;
}
