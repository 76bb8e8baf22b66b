import type { IncomingMessage, ServerResponse } from "node:http";
import {
  type CallToolResult,
  type ProgressToken,
  type RequestId,
  type ServerNotification,
  SUPPORTED_PROTOCOL_VERSIONS,
} from "@modelcontextprotocol/sdk/types.js";
import { sendJson } from "./json-body.ts";

/** A call that takes longer is answered as a stream, so that the client hears in time that it was taken. */
const STREAM_AFTER_MS = 1000;
const FIELDS = new Set(["jsonrpc", "id", "method", "params"]);
const PARAMETERS = new Set(["name", "arguments", "_meta"]);

/** One `tools/call`, alone in its request. */
export interface PlainCall {
  id: RequestId;
  name: string;
  arguments: Record<string, unknown>;
  progressToken: ProgressToken | undefined;
}

/**
 * What a POST asks for when it is one tool call as clients write them; null for everything else, which the MCP library reads and
 * answers. Nearly every request is such a call, and the library's way through web streams took longer than many a tool.
 */
export function plainCallOf(request: IncomingMessage, body: unknown): PlainCall | null {
  const { accept = "", "mcp-protocol-version": version } = request.headers;
  const isAccepted = accept.includes("application/json") && accept.includes("text/event-stream");
  if (!isAccepted || !isSupported(version)) return null;
  if (!hasOnly(body, FIELDS) || body["jsonrpc"] !== "2.0" || body["method"] !== "tools/call")
    return null;
  const { id, params } = body;
  if (!isRequestId(id) || !hasOnly(params, PARAMETERS)) return null;
  const { name, arguments: given = {}, _meta: meta = {} } = params;
  if (typeof name !== "string" || !isObject(given) || !isObject(meta)) return null;
  const { progressToken } = meta;
  if (progressToken !== undefined && !isRequestId(progressToken)) return null;
  return { id, name, arguments: given, progressToken };
}

/** The answer to one call: a JSON document, or a stream of events when there was something to say before it ended. */
export class PlainAnswer implements Disposable {
  readonly #response: ServerResponse;
  readonly #id: RequestId;
  readonly #timer: NodeJS.Timeout;
  #isStream = false;

  constructor(response: ServerResponse, id: RequestId) {
    this.#response = response;
    this.#id = id;
    this.#timer = setTimeout(() => this.#stream(), STREAM_AFTER_MS);
  }

  notify(notification: ServerNotification): void {
    this.#stream();
    this.#event({ jsonrpc: "2.0", ...notification });
  }

  end(result: CallToolResult): void {
    const message = { jsonrpc: "2.0", id: this.#id, result };
    if (this.#response.destroyed) return;
    if (!this.#isStream) return sendJson(this.#response, 200, message);
    this.#event(message);
    this.#response.end();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #stream(): void {
    if (this.#isStream || this.#response.destroyed) return;
    this.#isStream = true;
    this.#response.writeHead(200, {
      "content-type": "text/event-stream",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
    });
    this.#response.flushHeaders();
  }

  #event(message: object): void {
    if (this.#response.destroyed) return;
    this.#response.write(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
  }
}

function isSupported(version: string | string[] | undefined): boolean {
  if (version === undefined) return true;
  return typeof version === "string" && SUPPORTED_PROTOCOL_VERSIONS.includes(version);
}

function isRequestId(value: unknown): value is RequestId {
  return typeof value === "string" || Number.isSafeInteger(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function hasOnly(value: unknown, names: ReadonlySet<string>): value is Record<string, unknown> {
  return isObject(value) && Object.keys(value).every((name) => names.has(name));
}
