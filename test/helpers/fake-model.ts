// A model that does what the prompt says: one loopback server for four wires, with a key that it checks.
//
//   Anthropic Messages       POST …/v1/messages, …/v1/messages/count_tokens      key: x-api-key or Bearer
//   OpenAI Responses         POST …/responses                                    key: Bearer
//   OpenAI Chat Completions  POST …/chat/completions                             key: Bearer
//   Gemini                   POST …/models/M:generateContent, :streamGenerateContent, :countTokens   key: x-goog-api-key
//   model lists              GET  …/models
//
// Directives in the newest user message that has any are the script:
//   [[say TEXT]]            answers TEXT, with a new line at each ⏎
//   [[tool NAME {json}]]    calls the tool NAME with these arguments (several: one a turn, in order); "*tail" matches by its end
//   [[slow MS]]             streams the text over MS milliseconds
//   [[stall]]               begins to stream and never ends
//   [[status CODE]]         answers with this HTTP status
// After a tool's result the text is "Tool said: RESULT" unless [[say]] is there. A request that offers no tools gets no call.
// A chat stream tells its usage only to a client that asked for it (stream_options.include_usage), as OpenAI does.
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import zlib from "node:zlib";
import { planOf } from "./fake-model-script.ts";
import { type Answer, FAKE_USAGE, tellsUsage, type WireName, wires } from "./fake-model-wires.ts";

export interface ModelRequest {
  method: string;
  path: string;
  /** what the client presented: the x-api-key or x-goog-api-key header or the Bearer value */
  key: string | undefined;
  headers: Record<string, string>;
  /** decoded, when the client compressed it */
  body: string;
  status: number;
}

export interface FakeModel extends AsyncDisposable {
  readonly url: string;
  /** Every request so far, in the order of arrival. */
  readonly requests: ModelRequest[];
  /** Requests that are not answered to their end yet. */
  readonly open: number;
}

/** Starts the server, on a free port unless one is given. Requests with another key than `key` get 401. */
export async function openFakeModel(key: string, port = 0): Promise<FakeModel> {
  const requests: ModelRequest[] = [];
  let open = 0;
  const server = createServer((request, response) => {
    open += 1;
    response.once("close", () => (open -= 1));
    serve(request, response, key, requests).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : new Error(String(error)));
    });
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    get open() {
      return open;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  key: string,
  requests: ModelRequest[],
): Promise<void> {
  const seen = await readRequest(request);
  requests.push(seen);
  const { path } = seen;
  const json = (status: number, value: object): void => {
    seen.status = status;
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
  };
  const fault = (status: number, type: string, message: string): void =>
    json(status, { type: "error", error: { type, message, code: status } });

  if (seen.key !== key) return fault(401, "authentication_error", "invalid x-api-key");
  if (path.endsWith("/messages/count_tokens")) return json(200, { input_tokens: FAKE_USAGE.input });
  if (path.endsWith(":countTokens")) return json(200, { totalTokens: FAKE_USAGE.input });
  if (seen.method === "GET" && /\/models(?:\/[^/]+)?$/.test(path)) return json(200, MODELS);
  const name = wireOf(path);
  if (name === null) return fault(404, "not_found_error", path);

  const body: unknown = JSON.parse(seen.body);
  let neutral;
  try {
    neutral = wires[name].read(body, path);
  } catch (error) {
    return fault(400, "invalid_request_error", String(error));
  }
  const plan = planOf(neutral);
  if (plan.kind === "status") return fault(plan.status, "api_error", "scripted");
  await wires[name].write(neutral, plan, answerOf(response, tellsUsage(name, body), json));
}

const MODELS = {
  object: "list",
  data: [{ type: "model", object: "model", id: "fake-model", display_name: "Fake" }],
  models: [{ name: "models/fake-model" }],
  has_more: false,
};

function answerOf(
  response: ServerResponse,
  withUsage: boolean,
  json: (status: number, value: object) => void,
): Answer {
  return {
    json: (value) => json(200, value),
    event(data, type) {
      if (!response.headersSent)
        response.writeHead(200, {
          "content-type": "text/event-stream",
          "cache-control": "no-cache",
        });
      const isUsage = typeof data === "object" && "choices" in data && "usage" in data;
      if (isUsage && !withUsage) return;
      const text = typeof data === "string" ? data : JSON.stringify(data);
      response.write(`${type === undefined ? "" : `event: ${type}\n`}data: ${text}\n\n`);
    },
    // A stalled answer is never ended: the client goes away, or the server's end closes what is left.
    end: () => void response.end(),
  };
}

function wireOf(path: string): WireName | null {
  if (path.endsWith("/v1/messages")) return "anthropic";
  if (path.endsWith("/responses")) return "responses";
  if (path.endsWith("/chat/completions")) return "chat";
  return /:(?:generateContent|streamGenerateContent)$/.test(path) ? "gemini" : null;
}

async function readRequest(request: IncomingMessage): Promise<ModelRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const { headers } = request;
  const bearer = /^Bearer (.+)$/.exec(headers.authorization ?? "")?.[1];
  return {
    method: request.method ?? "",
    path: (request.url ?? "/").split("?")[0] ?? "/",
    key: (headers["x-api-key"] ?? headers["x-goog-api-key"])?.toString() ?? bearer,
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, String(value)]),
    ),
    body: decoded(Buffer.concat(chunks), headers["content-encoding"]).toString("utf8"),
    status: 200,
  };
}

/** Codex may send its requests compressed. */
function decoded(body: Buffer, coding: string | undefined): Buffer {
  if (coding === "gzip") return zlib.gunzipSync(body);
  if (coding === "br") return zlib.brotliDecompressSync(body);
  return coding === "zstd" ? zlib.zstdDecompressSync(body) : body;
}
