import type { IncomingMessage, ServerResponse } from "node:http";
import type * as z from "zod";
import { parseJson } from "../kit/json-lines.ts";
import { PlatformError } from "../kit/platform-error.ts";
import type { ApiError } from "../protocol/tool-api.ts";
import { ProtocolMismatchError } from "../protocol/version.ts";

const MAX_BODY_BYTES = 1024 * 1024;

const STATUS: Record<string, number> = {
  bad_message: 400,
  bad_request: 400,
  unauthorized: 401,
  foreign_origin: 403,
  read_only: 403,
  not_found: 404,
  no_replay: 404,
  unknown_run: 404,
  unknown_shell: 404,
  method_not_allowed: 405,
  run_exists: 409,
  run_live: 409,
  run_unverified: 409,
  run_ended: 409,
  agentlet_away: 409,
  too_many: 429,
  too_large: 413,
  protocol_mismatch: 426,
  data_full: 507,
  act_unanswered: 504,
  unavailable: 503,
};

/** The URL of a request. Throws `bad_request` for a target that is not an absolute path, which `new URL` would take for a host. */
export function urlOf(request: IncomingMessage): URL {
  const target = request.url ?? "";
  const url = target.startsWith("/") ? URL.parse(`http://127.0.0.1${target}`) : null;
  if (url === null)
    throw new PlatformError("bad_request", "Expected a request target that begins with /");
  return url;
}

/** What every answer with data carries: it is kept nowhere and never taken for something else. */
export const DATA_HEADERS = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
};

/** Answers with numbers as Prometheus reads them. */
export function replyText(response: ServerResponse, text: string): void {
  response.writeHead(200, {
    ...DATA_HEADERS,
    "content-type": "text/plain; version=0.0.4; charset=utf-8",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}

/** Answers with one JSON document. */
export function replyJson(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(`${JSON.stringify(value)}\n`);
  response.writeHead(status, {
    ...DATA_HEADERS,
    "content-type": "application/json; charset=utf-8",
    "content-length": body.length,
  });
  response.end(body);
}

/** The status and the body of an error. A message that is not ours is not passed on. */
export function errorReply(error: unknown): { status: number; body: ApiError } {
  if (error instanceof PlatformError) {
    const { code, message, fix } = error;
    return {
      status: STATUS[code] ?? 500,
      body: { error: { code, message, ...(fix === undefined ? {} : { fix }) } },
    };
  }
  if (error instanceof ProtocolMismatchError)
    return {
      status: STATUS[error.code] ?? 500,
      body: { error: { code: error.code, message: error.message } },
    };
  return {
    status: 500,
    body: {
      error: { code: "internal", message: "The manager failed; see its log for the cause" },
    },
  };
}

/** Reads and checks the JSON body of a request. Throws `PlatformError` `too_large` or `bad_message`. */
export async function readBody<T>(
  request: IncomingMessage,
  what: string,
  schema: z.ZodType<T>,
): Promise<T> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES)
      throw new PlatformError("too_large", `Expected a body of at most ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  return parseJson(what, schema, Buffer.concat(chunks).toString("utf8"));
}
