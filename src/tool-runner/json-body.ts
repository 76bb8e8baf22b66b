import type { IncomingMessage, ServerResponse } from "node:http";
import { PlatformError } from "../kit/platform-error.ts";
import { parseStrictJson } from "./strict-json.ts";

/** Arguments are small; a larger body is refused before it is parsed. */
export const MAX_BODY_BYTES = 4 * 1024 * 1024;
/** A client that still sends does not read our refusal, so this much more is read and dropped first. */
const MAX_DROPPED_BYTES = 256 * 1024 * 1024;
/** Of all bodies that are not whole yet: a client may open hundreds of connections. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;
/** Who has not sent all of it by then holds a connection for nothing. */
const BODY_MS = 30_000;

let heldBytes = 0;

/** Reads a JSON body. Throws `PlatformError`: `body_too_large`, `body_too_slow`, `too_many_bodies`, `bad_content_type` or `bad_json`. */
export async function readJsonBody(
  request: IncomingMessage,
  { withinMs = BODY_MS }: { withinMs?: number } = {},
): Promise<unknown> {
  const type = request.headers["content-type"] ?? "";
  if (!/^application\/json *(?:;|$)/i.test(type))
    throw new PlatformError("bad_content_type", "Expected a body of type application/json");
  const chunks: Buffer[] = [];
  let bytes = 0;
  let kept = 0;
  const late = setTimeout(() => {
    const message = `Expected the whole body within ${withinMs} ms`;
    request.destroy(new PlatformError("body_too_slow", message));
  }, withinMs);
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > MAX_DROPPED_BYTES) break;
      if (bytes > MAX_BODY_BYTES) continue;
      if (heldBytes + chunk.length > MAX_HELD_BYTES)
        throw new PlatformError(
          "too_many_bodies",
          `Expected at most ${MAX_HELD_BYTES} bytes of unfinished requests, got more`,
          { fix: "send one request after the other", retryable: true },
        );
      chunks.push(chunk);
      kept += chunk.length;
      heldBytes += chunk.length;
    }
  } finally {
    clearTimeout(late);
    heldBytes -= kept;
  }
  if (bytes > MAX_BODY_BYTES) {
    throw new PlatformError(
      "body_too_large",
      `Expected a body of at most ${MAX_BODY_BYTES} bytes, got more`,
    );
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new PlatformError("bad_json", `Expected JSON in UTF-8, got ${bytes} bytes that are not`);
  }
  return parseStrictJson(text);
}

/** The status that says what was wrong with a body. */
export function statusOfBody({ code }: PlatformError): number {
  if (code === "body_too_large") return 413;
  return code === "too_many_bodies" ? 503 : 400;
}

/** Answers with JSON and ends the response. */
export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": body.length,
    "cache-control": "no-store",
  });
  response.end(body);
}

/** Answers with `ApiError`. The connection is closed, since the rest of the request may be unread. */
export function sendError(
  response: ServerResponse,
  status: number,
  code: string,
  message: string,
  fix?: string,
): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.setHeader("connection", "close");
  sendJson(response, status, { error: { code, message, ...(fix === undefined ? {} : { fix }) } });
}
