import type { LoadedOperation, ToolProblem } from "../operations.ts";
import type { LoadedMcp, LoadedTool } from "../tools.ts";
import type { McpServersOptions, ServedCall, ServedRequest } from "./running-server.ts";
import { type Served, ServerSeat } from "./server-seat.ts";

/**
 * The MCP servers among a run's tools. One without credentials and network is started at its first use, serves calls side by
 * side, is ended when idle and started again after a crash, later each time. With credentials or network a process serves one
 * call alone (`run-tool-call.ts`); here it is only asked, once, for its tools, and has neither credential nor network then.
 */
export class McpServers implements AsyncDisposable {
  readonly #options: McpServersOptions;
  readonly #seats = new Map<string, ServerSeat>();

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

  #seatOf(tool: LoadedTool, mcp: LoadedMcp): ServerSeat {
    const known = this.#seats.get(tool.name);
    if (known !== undefined) return known;
    const seat = new ServerSeat(tool, mcp, this.#options);
    this.#seats.set(tool.name, seat);
    return seat;
  }
}

function requireMcp({ name, mcp }: LoadedTool): LoadedMcp {
  if (mcp === null) throw new TypeError(`Expected tool "${name}" to be an MCP server`);
  return mcp;
}
