import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import {
  CallToolRequestSchema,
  type CallToolResult,
  CancelledNotificationSchema,
  ListToolsRequestSchema,
  type ListToolsResult,
  type ProgressToken,
  type RequestId,
  type ServerNotification,
} from "@modelcontextprotocol/sdk/types.js";
import { AjvJsonSchemaValidator } from "@modelcontextprotocol/sdk/validation/ajv";
import { PlatformError } from "../kit/platform-error.ts";
import { textOfCall } from "./call-text.ts";
import { readJsonBody, sendError, sendJson, statusOfBody } from "./json-body.ts";
import type { CallProgress } from "./mcp/server-process.ts";
import { PlainAnswer, plainCallOf } from "./plain-call.ts";
import { runToolCall } from "./run-tool-call.ts";
import { abortOnClose } from "./tool-face.ts";
import type { CallRequest, ToolRunner } from "./tool-runner.ts";

const PROGRESS_EVERY_MS = 5000;
/** More often than this is not passed on, but for the last. */
const PROGRESS_LEAST_MS = 50;
const SESSION_HEADER = "mcp-session-id";
const SESSION = /^[\x21-\x7e]{1,128}$/;
// Made once: each instance compiles a schema validator of its own.
const jsonSchemaValidator = new AjvJsonSchemaValidator();

/** What a tool is called in MCP; neither half can hold the first underscore, so the name can be split again. */
export function mcpName(tool: string, operation: string): string {
  return `${tool}_${operation}`;
}

/**
 * The MCP face. Every request stands alone (no session state), so that clients survive a restart of the tool-runner; the
 * session id that is given out serves only to find the call that a later request cancels.
 */
export class McpFace {
  readonly #runner: ToolRunner;
  readonly #calls = new Map<string, AbortController>();
  #listed = false;

  constructor(runner: ToolRunner) {
    this.#runner = runner;
  }

  /** Answers `/mcp`, and `/v1/mcp`: whether a client has got the list of tools from here. The token was checked. */
  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url === "/v1/mcp") return sendJson(response, 200, { listed: this.#listed });
    if (request.method !== "POST") {
      response.setHeader("allow", "POST");
      // A client asks so for a stream while it lists the tools on the same connection, which stays open therefore.
      const message = "Expected POST: this server sends nothing on its own";
      return sendJson(response, 405, { error: { code: "method_not_allowed", message } });
    }
    let body: unknown;
    try {
      body = await readJsonBody(request);
    } catch (error) {
      if (!(error instanceof PlatformError)) throw error;
      return sendError(response, statusOfBody(error), error.code, error.message);
    }
    const session = sessionOf(request) ?? (isInitialize(body) ? randomUUID() : null);
    if (isMethod(body, "tools/list")) response.once("finish", () => (this.#listed = true));
    if (isInitialize(body) && session !== null) response.setHeader(SESSION_HEADER, session);
    const gone = abortOnClose(response);
    const plain = plainCallOf(request, body);
    if (plain !== null) {
      using answer = new PlainAnswer(response, plain.id);
      const { id, progressToken } = plain;
      const notify = (notification: ServerNotification): void => answer.notify(notification);
      return answer.end(await this.#call(plain, { id, session, gone, progressToken, notify }));
    }
    const server = this.#serverFor(session, gone);
    const transport = new StreamableHTTPServerTransport({});
    response.once("close", () => void server.close().catch(() => {}));
    await server.connect(transport);
    await transport.handleRequest(request, response, body);
  }

  #serverFor(session: string | null, gone: AbortSignal): Server {
    const server = new Server(
      { name: "agentkube", version: "0.1.0" },
      { capabilities: { tools: {} }, jsonSchemaValidator },
    );
    server.setRequestHandler(ListToolsRequestSchema, (_request, extra) =>
      this.#list(AbortSignal.any([gone, extra.signal])),
    );
    server.setRequestHandler(CallToolRequestSchema, (request, extra) => {
      const { name, arguments: given = {} } = request.params;
      const asked: Asked = {
        id: extra.requestId,
        session,
        gone: AbortSignal.any([gone, extra.signal]),
        progressToken: extra._meta?.progressToken,
        notify: (notification) => void extra.sendNotification(notification).catch(() => {}),
      };
      return this.#call({ name, arguments: given }, asked);
    });
    server.setNotificationHandler(CancelledNotificationSchema, (notification) => {
      // Without a session, ids of several clients cannot be told apart; closing the request cancels then.
      const { requestId } = notification.params;
      if (session !== null && requestId !== undefined)
        this.#calls.get(keyOf(session, requestId))?.abort();
    });
    return server;
  }

  async #list(signal: AbortSignal): Promise<ListToolsResult> {
    const all = await this.#runner.servers.allOperations(this.#runner.tools.values(), signal);
    const tools = [...all].flatMap(([tool, operations]) =>
      [...operations.values()].map((operation) => ({
        name: mcpName(tool.name, operation.name),
        description: [operation.description, tool.description]
          .filter((text) => text !== "")
          .join("\n\n"),
        inputSchema: operation.inputSchema as { type: "object" },
        ...(operation.outputSchema === null
          ? {}
          : { outputSchema: operation.outputSchema as { type: "object" } }),
      })),
    );
    return { tools };
  }

  async #call(
    call: { name: string; arguments: Record<string, unknown> },
    asked: Asked,
  ): Promise<CallToolResult> {
    const cancelled = new AbortController();
    const key = keyOf(asked.session, asked.id);
    this.#calls.set(key, cancelled);
    using progress = reportProgress(asked);
    try {
      const request: CallRequest = {
        ...splitName(call.name),
        arguments: call.arguments,
        face: "mcp",
        ...progress.taken,
      };
      const caller = AbortSignal.any([asked.gone, cancelled.signal]);
      const result = await runToolCall(this.#runner, request, caller);
      const operation = this.#runner.tools.get(request.tool)?.operations.get(request.operation);
      return { ...textOfCall(request.tool, operation, result) };
    } finally {
      if (this.#calls.get(key) === cancelled) this.#calls.delete(key);
    }
  }
}

/** Who asked for a call, and how it hears of it. */
interface Asked {
  id: RequestId;
  session: string | null;
  gone: AbortSignal;
  progressToken: ProgressToken | undefined;
  readonly notify: (notification: ServerNotification) => void;
}

/** Says that a call is still running, to a client that asked to hear it; a server's own words take the clock's place. */
function reportProgress({
  progressToken,
  notify,
}: Asked): Disposable & { taken: Pick<CallRequest, "onProgress"> } {
  if (progressToken === undefined) return { taken: {}, [Symbol.dispose]: () => undefined };
  const startedAt = performance.now();
  const send = (said: CallProgress): void =>
    notify({ method: "notifications/progress", params: { progressToken, ...said } });
  const timer = setInterval(() => {
    const progress = Math.round((performance.now() - startedAt) / 1000);
    send({ progress, message: `running for ${progress} s` });
  }, PROGRESS_EVERY_MS);
  let saidAt = -Infinity;
  const onProgress = (said: CallProgress): void => {
    clearInterval(timer);
    const isLast = said.total !== undefined && said.progress >= said.total;
    if (!isLast && performance.now() - saidAt < PROGRESS_LEAST_MS) return;
    saidAt = performance.now();
    const { progress, total, message } = said;
    send({
      progress,
      ...(total === undefined ? {} : { total }),
      ...(message === undefined ? {} : { message: message.slice(0, 1024) }),
    });
  };
  return { taken: { onProgress }, [Symbol.dispose]: () => clearInterval(timer) };
}

/** 1 and "1" are two ids. */
function keyOf(session: string | null, id: RequestId): string {
  return JSON.stringify([session, id]);
}

function splitName(name: string): { tool: string; operation: string } {
  const at = name.indexOf("_");
  return at === -1
    ? { tool: name, operation: "" }
    : { tool: name.slice(0, at), operation: name.slice(at + 1) };
}

function sessionOf(request: IncomingMessage): string | null {
  const header = request.headers[SESSION_HEADER];
  return typeof header === "string" && SESSION.test(header) ? header : null;
}

function isInitialize(body: unknown): boolean {
  return isMethod(body, "initialize");
}

function isMethod(body: unknown, method: string): boolean {
  return typeof body === "object" && body !== null && "method" in body && body.method === method;
}
