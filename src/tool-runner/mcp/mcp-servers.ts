import { closeSync } from "node:fs";
import timers from "node:timers/promises";
import { Backoff } from "../../kit/backoff.ts";
import type { Log } from "../../kit/log.ts";
import { PlatformError } from "../../kit/platform-error.ts";
import { redactAll } from "../../kit/redactor.ts";
import { openSandbox, type ProgramExit, type Sandbox } from "../../kit/sandbox.ts";
import { CallStopped } from "../call-end.ts";
import { watchLimits } from "../call-limits.ts";
import { planCall, type BoundaryTraces, type CallWorkspace } from "../call-sandbox.ts";
import type { CallSecrets } from "../call-secrets.ts";
import type { LoadedOperation, ToolProblem } from "../operations.ts";
import type { LoadedMcp, LoadedTool } from "../tools.ts";
import { WORKSPACE_DIR } from "../tools.ts";
import { servedOperations } from "./served-operations.ts";
import { renderReply, type RenderedReply } from "./server-reply.ts";
import { type CallProgress, endOfServer, keepTail, ServerProcess } from "./server-process.ts";

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

/** A server without calls is ended after this. */
const IDLE_MS = 5 * 60_000;
const BACKOFF = { minMs: 250, maxMs: 15_000 };
const TAIL_BYTES = 2048;
/** The pipe of a process closes a moment before its end is known. */
const EXIT_KNOWN_MS = 1000;
const MEBIBYTE = 1024 * 1024;

/**
 * The MCP servers among a run's tools. One without credentials and network is started at its first use, serves calls side by
 * side, is ended when idle and started again after a crash, later each time. With credentials or network a process serves one
 * call alone (`run-tool-call.ts`); here it is only asked, once, for its tools, and has neither credential nor network then.
 */
export class McpServers implements AsyncDisposable {
  readonly #options: McpServersOptions;
  readonly #seats = new Map<string, Seat>();

  constructor(options: McpServersOptions) {
    this.#options = options;
    const end = (): void => void this[Symbol.asyncDispose]();
    options.ended.addEventListener("abort", end, { once: true });
  }

  /**
   * The operations of a tool; an MCP server is asked for them once. `alone`: by a process that ends afterwards and sees no
   * workspace. Throws `mcp_unavailable`.
   */
  async operationsOf(
    tool: LoadedTool,
    signal: AbortSignal,
    { alone = false }: { alone?: boolean } = {},
  ): Promise<ReadonlyMap<string, LoadedOperation>> {
    return (await this.#served(tool, signal, alone)).operations;
  }

  /** The operations of all tools. A server that cannot be asked now is left out, with a line in the log. */
  async allOperations(
    tools: Iterable<LoadedTool>,
    signal: AbortSignal,
  ): Promise<Map<LoadedTool, ReadonlyMap<string, LoadedOperation>>> {
    const all = await Promise.all(
      [...tools].map(async (tool) => {
        try {
          return [[tool, await this.operationsOf(tool, signal)] as const];
        } catch (error) {
          this.#options.log.warn(
            { err: error, tool: tool.name },
            "an MCP server has no tools to show",
          );
          return [];
        }
      }),
    );
    return new Map(all.flat());
  }

  /** What keeps the tools of a server from being offered. Throws `mcp_unavailable`. */
  async problemsOf(tool: LoadedTool, signal: AbortSignal): Promise<ToolProblem[]> {
    return (await this.#served(tool, signal, false)).problems;
  }

  /** One call on a server that serves several. Rejects with the signal's reason, or `mcp_unavailable`. */
  async call(request: ServedRequest, signal: AbortSignal): Promise<ServedCall> {
    return this.#seatOf(request.tool, requireMcp(request.tool)).call(request, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#seats.values()].map((seat) => seat[Symbol.asyncDispose]()));
  }

  async #served(tool: LoadedTool, signal: AbortSignal, alone: boolean): Promise<Served> {
    if (tool.mcp === null) return { operations: tool.operations, problems: [] };
    return this.#seatOf(tool, tool.mcp).served(signal, alone);
  }

  #seatOf(tool: LoadedTool, mcp: LoadedMcp): Seat {
    const known = this.#seats.get(tool.name);
    if (known !== undefined) return known;
    const seat = new Seat(tool, mcp, this.#options);
    this.#seats.set(tool.name, seat);
    return seat;
  }
}

interface Served {
  operations: ReadonlyMap<string, LoadedOperation>;
  problems: ToolProblem[];
}

/** One tool's place: its server while it runs, and what is known of it. */
class Seat implements AsyncDisposable {
  readonly #tool: LoadedTool;
  readonly #mcp: LoadedMcp;
  readonly #options: McpServersOptions;
  readonly #backoff = new Backoff(BACKOFF);
  #isBackingOff = false;
  #running: Promise<RunningServer> | null = null;
  #served: Promise<Served> | null = null;
  #closed: Promise<void> = Promise.resolve();
  #calls = 0;
  #idle: NodeJS.Timeout | undefined;

  constructor(tool: LoadedTool, mcp: LoadedMcp, options: McpServersOptions) {
    this.#tool = tool;
    this.#mcp = mcp;
    this.#options = options;
  }

  /** Asked once; a failure is asked again. One caller that gives up does not take the answer from the others. */
  async served(signal: AbortSignal, alone: boolean): Promise<Served> {
    const asked = (this.#served ??= this.#ask(alone || this.#mcp.perCall));
    asked.catch(() => {
      if (this.#served === asked) this.#served = null;
    });
    return untilAborted(asked, signal);
  }

  async call(request: ServedRequest, signal: AbortSignal): Promise<ServedCall> {
    clearTimeout(this.#idle);
    this.#calls += 1;
    try {
      const server = await untilAborted((this.#running ??= this.#start()), signal);
      const served = await server.call(request, signal);
      if (served.kind === "answered") this.#recovered();
      return served;
    } finally {
      this.#calls -= 1;
      if (this.#calls === 0) {
        this.#idle = setTimeout(() => void this.#close(), IDLE_MS);
        this.#idle.unref();
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#idle);
    await this.#close();
  }

  async #close(): Promise<void> {
    const running = this.#running;
    this.#running = null;
    // Whoever asks later waits for the same end.
    this.#closed = Promise.all([
      this.#closed,
      running?.catch(() => null).then((server) => server?.[Symbol.asyncDispose]()),
    ]).then(() => undefined);
    await this.#closed;
  }

  async #ask(alone: boolean): Promise<Served> {
    const tools = await (alone ? this.#askAlone() : this.#askRunning());
    const served = servedOperations(tools, this.#mcp.allow);
    for (const { problem } of served.problems)
      this.#options.log.warn(
        { tool: this.#tool.name, problem },
        "a tool of an MCP server is left out",
      );
    return served;
  }

  async #askRunning() {
    const server = await (this.#running ??= this.#start());
    return server.list(this.#options.ended);
  }

  async #askAlone() {
    await using server = await RunningServer.open(this.#tool, this.#mcp, this.#options, {
      isForListing: true,
    });
    return await server.list(this.#options.ended);
  }

  async #start(): Promise<RunningServer> {
    try {
      if (this.#isBackingOff) await this.#backoff.wait(this.#options.ended);
      this.#isBackingOff = true;
      const server = await RunningServer.open(this.#tool, this.#mcp, this.#options, {
        isForListing: false,
      });
      const own = this.#running;
      void server.closed.then(() => {
        if (this.#running === own) this.#running = null;
      });
      return server;
    } catch (error) {
      this.#running = null;
      throw error;
    }
  }

  /** After a crash the next start waits, until a call was answered again. */
  #recovered(): void {
    this.#isBackingOff = false;
    this.#backoff.startOver();
  }
}

/** A server in its sandbox. Disposing it kills the sandbox. */
class RunningServer implements AsyncDisposable {
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
  const clean = secrets.redaction === null ? tail : redactAll(secrets.redaction, tail);
  const words = clean.toString("utf8").trim().split("\n").slice(-5).join("\n");
  return words === "" ? "" : `; its last words:\n${words}`;
}

/** The reason why a server that writes without end is stopped. */
export function runaway(): CallStopped {
  return new CallStopped(
    "killed_by_limit",
    "The MCP server wrote far more than its output limit and was killed",
    "raise spec.sandbox.limits.output, or make the server write less",
  );
}

function requireMcp({ name, mcp }: LoadedTool): LoadedMcp {
  if (mcp === null) throw new TypeError(`Expected tool "${name}" to be an MCP server`);
  return mcp;
}

/** Gives up waiting, not the work. */
function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason as Error);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  return Promise.race([work, promise]).finally(() => signal.removeEventListener("abort", abort));
}
