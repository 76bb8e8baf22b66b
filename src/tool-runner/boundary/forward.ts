import http, { type IncomingMessage, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { errnoOf } from "../../kit/platform-error.ts";
import { type RedactionTable, Redactor } from "../../kit/redactor.ts";
import { codingOf, decodeBody } from "./decode-body.ts";
import { maskText, responseHeaders } from "./header-rules.ts";
import { Refusal } from "./refusal.ts";
import type { RequestMeter } from "./request-record.ts";
import type { UpstreamPool } from "./upstream-pool.ts";

/** Header fields of an upstream's response together. */
const MAX_RESPONSE_HEADERS = 32 * 1024;
/** Reused connections that turn out dead, before the request is given up. */
const MAX_STALE = 4;

export interface Forwarding {
  req: IncomingMessage;
  res: ServerResponse;
  pool: UpstreamPool;
  /** origin-form, with the query */
  target: string;
  headers: string[];
  /** null when there is nothing to mask */
  table: RedactionTable | null;
  dropCookies: boolean;
  meter: RequestMeter;
  limits: { bytesUp: number; bytesDown: number; silenceMs: number };
  /** sees the answer as the upstream gave it, decoded, while it passes */
  tap?: { begin(status: number, contentType: string): void; push(chunk: Buffer): void };
}

/**
 * Sends one request upstream and its answer back, masked, as it comes. Resolves when the answer is complete. Throws a `Refusal`
 * while the answer has not begun; an answer that fails later is cut off, since its sender must not take it for whole.
 */
export async function forward(job: Forwarding): Promise<void> {
  const { req, res, meter } = job;
  const response = await sendUpstream(job);
  // A reset between two reads has no other reader.
  response.on("error", ignore);
  const status = response.statusCode ?? 502;
  job.tap?.begin(status, response.headers["content-type"] ?? "");
  const coding = codingOf(response.headers["content-encoding"]);
  const hasBody = req.method !== "HEAD" && status !== 204 && status !== 304;
  const isDecoded = coding !== null && job.table !== null && hasBody;
  const { headers, masked } = responseHeaders(response, { ...job, isDecoded });
  meter.masked += masked;
  const begin = () => {
    meter.status = status;
    res.sendDate = false;
    res.writeHead(status, headers);
    // With the first bytes if they are here already, else now: an event stream may be silent at first.
    setImmediate(() => {
      if (!res.destroyed && !res.writableEnded) res.flushHeaders();
    });
  };
  try {
    if (!isDecoded) begin();
    const body = isDecoded ? Readable.from(decodeBody(response, coding)) : response;
    await sendBody(job, body, begin);
    sendTrailers(job, response);
    res.end();
  } catch (error) {
    response.destroy();
    if (res.headersSent) res.destroy();
    throw refusalOf(job, error);
  }
}

/** Events instead of an async iterator: a short answer then leaves in the same turn of the event loop in which it came. */
async function sendBody(job: Forwarding, body: Readable, begin: () => void): Promise<void> {
  const { res, table, meter } = job;
  const redactor = table === null ? null : new Redactor(table);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const guarded = (work: () => void) => () => {
    try {
      work();
    } catch (error) {
      reject(error);
    }
  };
  const onClose = () => reject(new Error("The connection was closed"));
  body.on("data", (chunk: Buffer) => {
    guarded(() => {
      if (!res.headersSent) begin();
      job.tap?.push(chunk);
      if (send(job, redactor === null ? chunk : redactor.push(chunk))) return;
      body.pause();
      res.once("drain", () => body.resume());
    })();
  });
  body.once(
    "end",
    guarded(() => {
      if (!res.headersSent) begin();
      if (redactor !== null) send(job, redactor.end());
      resolve();
    }),
  );
  body.once("error", reject);
  body.once("close", onClose);
  res.once("close", onClose);
  try {
    await promise;
  } finally {
    meter.masked += redactor?.masked ?? 0;
    res.off("close", onClose);
  }
}

/** Writes some of the body; false when the receiver is slower than the upstream. */
function send({ res, meter, limits }: Forwarding, bytes: Buffer): boolean {
  if (bytes.length === 0) return true;
  meter.bytesDown += bytes.length;
  if (meter.bytesDown > limits.bytesDown) {
    throw new Refusal(
      502,
      "upstream_failed",
      "response_too_large",
      `The response is larger than ${limits.bytesDown} bytes`,
    );
  }
  return res.write(bytes);
}

function sendTrailers({ res, table, meter }: Forwarding, response: IncomingMessage): void {
  const raw = response.rawTrailers;
  if (raw.length === 0 || response.headers["transfer-encoding"] === undefined) return;
  const trailers: [string, string][] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = maskText(table, raw[index] as string);
    const value = maskText(table, raw[index + 1] as string);
    meter.masked += name.masked + value.masked;
    if (name.masked === 0) trailers.push([name.text, value.text]);
  }
  res.addTrailers(trailers);
}

/** Sends the request and waits for the head of its answer. A dead idle connection is replaced when nothing can have arrived twice. */
async function sendUpstream(job: Forwarding): Promise<IncomingMessage> {
  const { req } = job;
  const hasBody =
    req.headers["transfer-encoding"] !== undefined ||
    Number(req.headers["content-length"] ?? 0) > 0;
  for (let attempt = 0; ; attempt++) {
    const upstream = openRequest(job);
    try {
      if (hasBody) sendRequestBody(job, upstream);
      else upstream.end();
      return await answerOf(job, upstream);
    } catch (error) {
      const isStale =
        upstream.reusedSocket && ["ECONNRESET", "EPIPE"].includes(errnoOf(error) ?? "");
      const isSafe = !hasBody && ["GET", "HEAD", "OPTIONS"].includes(req.method ?? "");
      if (!isStale || !isSafe || attempt >= MAX_STALE) throw refusalOf(job, error);
    }
  }
}

function openRequest({ req, pool, target, headers }: Forwarding): http.ClientRequest {
  const { host, port } = pool.target;
  return http.request({
    agent: pool,
    host,
    port,
    method: req.method,
    path: target,
    headers,
    setHost: false,
    maxHeaderSize: MAX_RESPONSE_HEADERS,
  });
}

function sendRequestBody({ req, meter, limits }: Forwarding, upstream: http.ClientRequest): void {
  req.on("data", (chunk: Buffer) => {
    meter.bytesUp += chunk.length;
    if (meter.bytesUp > limits.bytesUp) {
      req.unpipe(upstream);
      upstream.destroy(
        new Refusal(
          413,
          "refused_rule",
          "request_too_large",
          `Expected a request body of at most ${limits.bytesUp} bytes`,
        ),
      );
    }
  });
  req.pipe(upstream);
}

async function answerOf(job: Forwarding, upstream: http.ClientRequest): Promise<IncomingMessage> {
  const { res, limits } = job;
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  upstream.once("response", resolve);
  // Nobody asked for another protocol. Without this listener Node closes the connection and says nothing.
  upstream.once("upgrade", (_, socket) => {
    socket.destroy();
    reject(Object.assign(new Error("Switched protocols"), { code: "HPE_UNEXPECTED_UPGRADE" }));
  });
  // Stays: an error after the answer has begun reaches its reader through the response.
  upstream.on("error", reject);
  upstream.setTimeout(limits.silenceMs, () => {
    upstream.destroy(
      new Refusal(
        504,
        "upstream_failed",
        "upstream_timeout",
        `The upstream was silent for ${limits.silenceMs / 1000} s`,
      ),
    );
  });
  // The sender is gone, or the grant is: nobody may go on using the credential.
  const onClose = () => {
    if (!res.writableFinished) upstream.destroy(new Error("The sender closed the connection"));
  };
  if (res.destroyed) onClose();
  else res.once("close", onClose);
  return promise;
}

function ignore(): void {}

function refusalOf({ pool }: Forwarding, error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const code = errnoOf(error) ?? "";
  const isGarbage = code.startsWith("HPE_");
  const { host, port } = pool.target;
  return new Refusal(
    502,
    "upstream_failed",
    isGarbage ? "upstream_garbage" : "upstream_closed",
    isGarbage
      ? `${host}:${port} did not answer in HTTP/1.1`
      : `${host}:${port} closed the connection before its answer was complete`,
  );
}
