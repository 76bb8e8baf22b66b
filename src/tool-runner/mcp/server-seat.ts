import { Backoff } from "../../kit/backoff.ts";
import type { LoadedOperation, ToolProblem } from "../operations.ts";
import type { LoadedMcp, LoadedTool } from "../tools.ts";
import type {
  McpServersOptions,
  RunningServer,
  ServedCall,
  ServedRequest,
} from "./running-server.ts";
import { servedOperations } from "./served-operations.ts";

/** A server without calls is ended after this. */
const IDLE_MS = 5 * 60_000;
const BACKOFF = { minMs: 250, maxMs: 15_000 };

/** What a server has to offer, and what of it cannot be offered. */
export interface Served {
  operations: ReadonlyMap<string, LoadedOperation>;
  problems: ToolProblem[];
}

/** One tool's place: its server while it runs, and what is known of it. */
export class ServerSeat implements AsyncDisposable {
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
    const served = await servedOperations(tools, this.#mcp.allow);
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
    await using server = await this.#open(true);
    return await server.list(this.#options.ended);
  }

  async #open(isForListing: boolean): Promise<RunningServer> {
    // Only a run with such a tool loads the SDK's client.
    const { RunningServer } = await import("./running-server.ts");
    return await RunningServer.open(this.#tool, this.#mcp, this.#options, { isForListing });
  }

  async #start(): Promise<RunningServer> {
    try {
      if (this.#isBackingOff) await this.#backoff.wait(this.#options.ended);
      this.#isBackingOff = true;
      const server = await this.#open(false);
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

/** Gives up waiting, not the work. */
function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason as Error);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  return Promise.race([work, promise]).finally(() => signal.removeEventListener("abort", abort));
}
