import type { Readable, Writable } from "node:stream";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import {
  JSONRPCMessageSchema,
  type JSONRPCMessage,
  type RequestId,
} from "@modelcontextprotocol/sdk/types.js";
import { isTooDeep } from "../../kit/json-nesting.ts";
import { LineSplitter } from "../../kit/line-splitter.ts";
import type { RedactionTable } from "../../kit/redactor.ts";
import { cleanMessage } from "./clean-message.ts";

export interface StdioTransportOptions {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly secrets: RedactionTable | null;
  /** how much may come without an answer among it, and how long one message may be */
  readonly limitBytes: number;
  /** the server writes without end, or does not read */
  readonly onRunaway: () => void;
}

const MAX_UNREAD_BYTES = 16 * 1024 * 1024;
/** As deep as what comes from an agent: whoever reads the answer next must not run out of stack. */
const MAX_DEPTH = 128;
/** Told in place of an answer that cannot be taken. */
export const NO_VALID_MESSAGE = "The MCP server's answer is no valid MCP message";

/**
 * The pipes of a server in a sandbox as a transport of the MCP SDK: one JSON document a line. What the server says is masked
 * before anybody looks at it. Lines that are no message are dropped; a server that only babbles is reported as a runaway.
 */
export class StdioTransport implements Transport {
  onmessage?: (message: JSONRPCMessage) => void;
  onclose?: () => void;
  onerror?: (error: Error) => void;
  readonly #options: StdioTransportOptions;
  /** its bound is that of what is unanswered, below */
  readonly #lines = new LineSplitter(Number.POSITIVE_INFINITY);
  #unanswered = 0;
  /** what was asked and not answered yet: only an answer to one of these counts as one */
  readonly #asked = new Set<RequestId>();
  #masked = 0;
  #ended = false;
  #delivered: Promise<void> = Promise.resolve();

  constructor(options: StdioTransportOptions) {
    this.#options = options;
  }

  /** How many secrets were masked in what the server said. */
  get masked(): number {
    return this.#masked;
  }

  /** Whether nothing can be asked of the server any more. */
  get isGone(): boolean {
    return this.#ended || !this.#options.stdin.writable;
  }

  start(): Promise<void> {
    const { stdin, stdout } = this.#options;
    stdin.on("error", () => undefined);
    stdout.on("data", (chunk: Buffer) => this.#take(chunk));
    stdout.once("close", () => this.#end());
    stdout.once("error", () => this.#end());
    // It comes paused; a listener alone does not start a stream that was paused on purpose.
    stdout.resume();
    return Promise.resolve();
  }

  send(message: JSONRPCMessage): Promise<void> {
    const { stdin, onRunaway } = this.#options;
    if (this.isGone) return Promise.reject(new Error("the server is gone"));
    if ("method" in message && "id" in message) this.#asked.add(message.id);
    if ("method" in message && message.method === "notifications/cancelled")
      this.#asked.delete(message.params?.["requestId"] as RequestId);
    stdin.write(`${JSON.stringify(message)}\n`);
    if (stdin.writableLength > MAX_UNREAD_BYTES) onRunaway();
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.#options.stdin.end();
    this.#end();
    return Promise.resolve();
  }

  #take(chunk: Buffer): void {
    if (this.#ended) return;
    this.#unanswered += chunk.length;
    this.#lines.push(chunk, (line) => {
      if (line !== null) this.#takeLine(line);
    });
    if (Math.max(this.#unanswered, this.#lines.heldBytes) <= this.#options.limitBytes) return;
    this.#end();
    this.#options.onRunaway();
  }

  #takeLine(line: Buffer): void {
    let value: unknown;
    try {
      value = JSON.parse(line.toString("utf8"));
    } catch {
      // Some servers log on standard output.
      return;
    }
    const message = (isTooDeep(line, MAX_DEPTH) ? null : this.#accept(value)) ?? refusalOf(value);
    if (message === null) return;
    if (!("method" in message) && this.#asked.delete(message.id ?? "")) this.#unanswered = 0;
    // One after the other: the SDK takes a notification a tick later than an answer, and would drop the last progress of a call.
    this.#delivered = this.#delivered.then(() => this.onmessage?.(message));
  }

  #accept(value: unknown): JSONRPCMessage | null {
    try {
      const cleaned = cleanMessage(this.#options.secrets, value);
      this.#masked += cleaned.masked;
      return JSONRPCMessageSchema.parse(cleaned.value);
    } catch {
      return null;
    }
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.onclose?.();
  }
}

/** An answer that cannot be taken still answers: whoever waits for it learns that, and not from a clock. */
function refusalOf(value: unknown): JSONRPCMessage | null {
  const id = typeof value === "object" && value !== null && "id" in value ? value.id : undefined;
  if ((typeof id !== "number" && typeof id !== "string") || "method" in (value as object))
    return null;
  const error = { code: -32_603, message: NO_VALID_MESSAGE };
  return { jsonrpc: "2.0", id, error };
}
