// A model that does what the prompt says: an Anthropic Messages server on the loopback, with a key that it checks.
//
// Directives in the newest user message that has any are the script:
//   [[say TEXT]]            answers TEXT
//   [[tool NAME {json}]]    calls the tool NAME with these arguments (several: one a turn, in order); "*tail" matches by its end
//   [[slow MS]]             streams the text over MS milliseconds
//   [[stall]]               begins to stream and never ends
//   [[status CODE]]         answers with this HTTP status
// After a tool's result the text is "Tool said: RESULT" unless [[say]] is there. A request that offers no tools gets no call.
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import timers from "node:timers/promises";
import * as z from "zod";

export interface ModelRequest {
  method: string;
  path: string;
  /** what the client presented: the x-api-key header or the Bearer value */
  key: string | undefined;
  headers: Record<string, string>;
  body: string;
  status: number;
}

export interface FakeModel extends AsyncDisposable {
  readonly url: string;
  /** Every request so far, in the order of arrival. */
  readonly requests: ModelRequest[];
}

const Content = z.union([z.string(), z.array(z.record(z.string(), z.unknown()))]);
const MessagesRequest = z.object({
  model: z.string(),
  stream: z.boolean().optional(),
  tools: z.array(z.object({ name: z.string() })).optional(),
  messages: z.array(z.object({ role: z.string(), content: Content })),
});
type MessagesRequest = z.infer<typeof MessagesRequest>;

type Plan =
  | { kind: "status"; status: number }
  | { kind: "tool"; name: string; input: unknown }
  | { kind: "text"; text: string; slowMs: number; stall: boolean };

type Directive =
  | { op: "tool"; name: string; input: unknown }
  | { op: "say" | "slow" | "stall" | "status"; word: string };

/** Starts the server on a free port. Requests with another key than `key` get 401. */
export async function openFakeModel(key: string): Promise<FakeModel> {
  const requests: ModelRequest[] = [];
  const server = createServer((request, response) => {
    serve(request, response, key, requests).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : new Error(String(error)));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
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
  const path = (request.url ?? "/").split("?")[0] ?? "/";
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks).toString("utf8");
  const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];
  const presented = request.headers["x-api-key"]?.toString() ?? bearer;
  const headers = Object.fromEntries(
    Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
  );
  const seen: ModelRequest = {
    method: request.method ?? "",
    path,
    key: presented,
    headers,
    body,
    status: 200,
  };
  requests.push(seen);
  const json = (status: number, value: unknown) => {
    seen.status = status;
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
  };

  if (presented !== key)
    return json(401, {
      type: "error",
      error: { type: "authentication_error", message: "invalid x-api-key" },
    });
  if (path.endsWith("/v1/messages/count_tokens")) return json(200, { input_tokens: 100 });
  if (path.endsWith("/v1/models"))
    return json(200, {
      data: [{ type: "model", id: "fake-model", display_name: "Fake" }],
      has_more: false,
    });
  if (!path.endsWith("/v1/messages"))
    return json(404, { type: "error", error: { type: "not_found_error", message: path } });

  const parsed = MessagesRequest.safeParse(JSON.parse(body));
  if (!parsed.success)
    return json(400, {
      type: "error",
      error: { type: "invalid_request_error", message: parsed.error.message },
    });
  const plan = planOf(parsed.data);
  if (plan.kind === "status")
    return json(plan.status, { type: "error", error: { type: "api_error", message: "scripted" } });
  await reply(response, parsed.data, plan, json);
}

/** What the script wants next, given the results that already came. */
function planOf(request: MessagesRequest): Plan {
  const turns = request.messages.flatMap((message) => turnsOf(message.role, message.content));
  const at = turns.findLastIndex(
    (turn) => turn.kind === "user" && directivesOf(turn.text).length > 0,
  );
  const script = at < 0 ? [] : directivesOf(turns[at]?.text ?? "");
  const results = turns.slice(at + 1).filter((turn) => turn.kind === "result");
  const word = (op: string) =>
    script.find((directive) => directive.op === op && directive.op !== "tool");
  const wordOf = (op: string) => {
    const directive = word(op);
    return directive !== undefined && directive.op !== "tool" ? directive.word : undefined;
  };
  const status = wordOf("status");
  if (status !== undefined) return { kind: "status", status: Number(status) };
  const tools = (request.tools ?? []).map((tool) => tool.name);
  const calls = script.filter((directive) => directive.op === "tool");
  const next = calls[results.length];
  if (tools.length > 0 && next !== undefined) {
    const tail = next.name.startsWith("*") ? next.name.slice(1) : null;
    const name = tail === null ? next.name : (tools.find((tool) => tool.endsWith(tail)) ?? tail);
    return { kind: "tool", name, input: next.input };
  }
  const said =
    results.length > 0 ? `Tool said: ${results.at(-1)?.text ?? ""}` : "Hello from the fake model.";
  return {
    kind: "text",
    text: wordOf("say") ?? said,
    slowMs: Number(wordOf("slow") ?? 0),
    stall: wordOf("stall") !== undefined,
  };
}

function turnsOf(
  role: string,
  content: z.infer<typeof Content>,
): { kind: "user" | "result" | "other"; text: string }[] {
  if (role !== "user") return [{ kind: "other", text: "" }];
  if (typeof content === "string") return [{ kind: "user", text: content }];
  return content.map((part) => {
    if (part["type"] === "tool_result") return { kind: "result", text: textOf(part["content"]) };
    return { kind: part["type"] === "text" ? "user" : "other", text: textOf(part["text"]) };
  });
}

function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.map((part: unknown) => textOf(part)).join("\n");
  return typeof value === "object" && value !== null && "text" in value ? textOf(value.text) : "";
}

/** The arguments of a tool may hold "]]" themselves, so the end is the first one that leaves valid JSON. */
function directivesOf(text: string): Directive[] {
  const found: Directive[] = [];
  const opening = /\[\[(say|tool|slow|stall|status)\b\s*/g;
  for (let match = opening.exec(text); match !== null; match = opening.exec(text)) {
    const op = match[1] as Directive["op"];
    const rest = text.slice(opening.lastIndex);
    for (let end = rest.indexOf("]]"); end >= 0; end = rest.indexOf("]]", end + 1)) {
      const words = rest.slice(0, end).trim();
      if (op !== "tool") {
        found.push({ op, word: words });
        break;
      }
      const [, name = "", json = ""] = /^([\w.*:/-]+)\s*([\s\S]*)$/.exec(words) ?? [];
      const input = tryJson(json === "" ? "{}" : json);
      if (name === "" || input === undefined) continue;
      found.push({ op, name, input });
      break;
    }
  }
  return found;
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function reply(
  response: ServerResponse,
  request: MessagesRequest,
  plan: Exclude<Plan, { kind: "status" }>,
  json: (status: number, value: unknown) => void,
): Promise<void> {
  const id = Math.random().toString(36).slice(2, 12);
  const stop = plan.kind === "tool" ? "tool_use" : "end_turn";
  const usage = {
    input_tokens: 100,
    output_tokens: 20,
    cache_read_input_tokens: 0,
    cache_creation_input_tokens: 0,
  };
  const message = {
    id: `msg_${id}`,
    type: "message",
    role: "assistant",
    model: request.model,
    stop_sequence: null,
    usage,
  };
  const tool =
    plan.kind === "tool" ? { type: "tool_use", id: `toolu_${id}`, name: plan.name } : null;
  if (request.stream !== true) {
    const block =
      plan.kind === "tool" ? { ...tool, input: plan.input } : { type: "text", text: plan.text };
    return json(200, { ...message, content: [block], stop_reason: stop });
  }
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  const send = (type: string, fields: object) => {
    response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`);
  };
  send("message_start", { message: { ...message, content: [], stop_reason: null } });
  send("content_block_start", {
    index: 0,
    content_block: tool === null ? { type: "text", text: "" } : { ...tool, input: {} },
  });
  if (plan.kind === "tool") {
    send("content_block_delta", {
      index: 0,
      delta: { type: "input_json_delta", partial_json: JSON.stringify(plan.input) },
    });
  } else {
    const words = plan.text.match(/\S+\s*|\s+/g) ?? [""];
    for (const text of words) {
      if (plan.slowMs > 0) await timers.setTimeout(plan.slowMs / words.length);
      send("content_block_delta", { index: 0, delta: { type: "text_delta", text } });
    }
    // The client goes away at some time; the server's end closes what is left.
    if (plan.stall) return;
  }
  send("content_block_stop", { index: 0 });
  send("message_delta", {
    delta: { stop_reason: stop, stop_sequence: null },
    usage: { output_tokens: 20 },
  });
  send("message_stop", {});
  response.end();
}
