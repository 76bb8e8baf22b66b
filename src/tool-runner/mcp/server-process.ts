import type { Readable } from "node:stream";
import { MAX_TIMER_MS } from "../../kit/max-timer.ts";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import {
  type CallToolResult,
  CallToolResultSchema,
  ErrorCode,
  ListToolsResultSchema,
  McpError,
  type Tool,
} from "@modelcontextprotocol/sdk/types.js";
import { PlatformError } from "../../kit/platform-error.ts";
import type { RedactionTable } from "../../kit/redactor.ts";
import type { ProgramExit, Sandbox } from "../../kit/sandbox.ts";
import { CallStopped } from "../call-end.ts";
import { NO_VALID_MESSAGE, StdioTransport } from "./stdio-transport.ts";

/** How far a call has come, in the server's own words. */
export interface CallProgress {
  progress: number;
  total?: number;
  message?: string;
}

export interface ServerOptions {
  readonly secrets: RedactionTable | null;
  /** the tool's output limit */
  readonly outputBytes: number;
  readonly onRunaway: () => void;
}

const INITIALIZE_MS = 20_000;
const LIST_MS = 20_000;
/** The call's own clock stops it. */
const NO_TIMEOUT = MAX_TIMER_MS;
const RUNAWAY_FACTOR = 16;
const MAX_PAGES = 50;
const MAX_TOOLS = 512;
const PING_MS = 800;
// An error of the SDK itself, among those that a server answers with.
const REQUEST_TIMEOUT: number = ErrorCode.RequestTimeout;

/**
 * An MCP server that runs in a sandbox, spoken to over its standard input and output. What it asks of its client (sampling,
 * elicitation, roots) is refused by the SDK, since this client declares none of it; what it notifies of is dropped, but progress.
 */
export class ServerProcess {
  readonly #client: Client;
  readonly #transport: StdioTransport;

  private constructor(client: Client, transport: StdioTransport) {
    this.#client = client;
    this.#transport = transport;
  }

  /** Introduces us to the server. Throws `mcp_unavailable` when it ends, or does not answer, before that is done. */
  static async connect(
    sandbox: Sandbox,
    options: ServerOptions,
    signal: AbortSignal,
  ): Promise<ServerProcess> {
    const { stdin, stdout } = sandbox;
    if (stdin === null || stdout === null) throw new TypeError("Expected a sandbox with pipes");
    const transport = new StdioTransport({
      stdin,
      stdout,
      secrets: options.secrets,
      limitBytes: options.outputBytes * RUNAWAY_FACTOR,
      onRunaway: options.onRunaway,
    });
    const client = new Client({ name: "agentkube", version: "0.1.0" }, { capabilities: {} });
    client.onerror = () => undefined;
    try {
      await client.connect(transport, { signal, timeout: INITIALIZE_MS });
    } catch (error) {
      signal.throwIfAborted();
      throw new PlatformError("mcp_unavailable", introductionFailure(error), {
        cause: error,
        fix: "look at what it says on standard error: agentkube tool call shows it",
      });
    }
    return new ServerProcess(client, transport);
  }

  get masked(): number {
    return this.#transport.masked;
  }

  /** Every tool the server has, page by page; at most 512. */
  async list(signal: AbortSignal): Promise<Tool[]> {
    const tools: Tool[] = [];
    let cursor: string | undefined;
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const result = await this.#client.request(
        { method: "tools/list", params: cursor === undefined ? {} : { cursor } },
        ListToolsResultSchema,
        { signal, timeout: LIST_MS },
      );
      tools.push(...result.tools);
      cursor = result.nextCursor;
      if (cursor === undefined || tools.length >= MAX_TOOLS) break;
    }
    return tools.slice(0, MAX_TOOLS);
  }

  /**
   * One call. An error that the server answers with, and an answer that is none, is a result with `isError`: the tool has run.
   * Rejects when the server is gone; aborting tells the server to cancel.
   */
  async call(
    name: string,
    args: unknown,
    onProgress: ((progress: CallProgress) => void) | null,
    signal: AbortSignal,
  ): Promise<CallToolResult> {
    try {
      return await this.#client.request(
        { method: "tools/call", params: { name, arguments: args as Record<string, unknown> } },
        CallToolResultSchema,
        {
          signal,
          timeout: NO_TIMEOUT,
          ...(onProgress === null
            ? {}
            : { onprogress: (progress) => onProgress(progress as CallProgress) }),
        },
      );
    } catch (error) {
      // The SDK gives its own error for an abort, as if the server had answered with it.
      signal.throwIfAborted();
      // Not by its code: -32000 is the SDK's for a closed connection, and many a server's for whatever failed.
      if (this.#transport.isGone) throw error;
      const text = error instanceof McpError ? error.message : NO_VALID_MESSAGE;
      return { content: [{ type: "text", text }], isError: true };
    }
  }

  /** Whether the server still answers, soon. */
  async isAlive(signal: AbortSignal): Promise<boolean> {
    try {
      await this.#client.ping({ signal, timeout: PING_MS });
      return true;
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    await this.#client.close().catch(() => undefined);
  }
}

/** The last words of a server, to be told why it ended. Masked by whoever shows them. */
export function keepTail(stream: Readable | null, bytes: number): () => Buffer {
  let kept = Buffer.alloc(0);
  stream?.on("data", (chunk: Buffer) => {
    kept = Buffer.concat([kept, chunk]).subarray(-bytes);
  });
  stream?.resume();
  return () => kept;
}

/** How a server's end is told to whoever waits for its answer. */
export function endOfServer(exit: ProgramExit): string {
  switch (exit.kind) {
    case "exited":
      return `The MCP server ended with exit code ${exit.code} before it answered`;
    case "signalled":
      return `The MCP server was ended by ${exit.signal} before it answered`;
    case "failed":
      return `The MCP server cannot be started: ${exit.step} failed with ${exit.errno}`;
    case "lost":
      return "The MCP server's sandbox ended before it answered";
  }
}

function introductionFailure(error: unknown): string {
  const isLate = error instanceof McpError && error.code === REQUEST_TIMEOUT;
  return isLate
    ? `The MCP server did not answer to "initialize" within ${INITIALIZE_MS} ms`
    : "The MCP server ended, or spoke something else than MCP, before it was ready";
}

/** The reason why a server that writes without end is stopped. */
export function runaway(): CallStopped {
  return new CallStopped(
    "killed_by_limit",
    "The MCP server wrote far more than its output limit and was killed",
    "raise spec.sandbox.limits.output, or make the server write less",
  );
}
