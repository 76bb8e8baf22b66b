// The four wires of the scripted model: how a request is read, and how an answer is written, whole or as events.
import timers from "node:timers/promises";
import * as z from "zod";
import { type NeutralRequest, type OfferedTool, type Plan, textOf } from "./fake-model-script.ts";

export type WireName = "anthropic" | "responses" | "chat" | "gemini";

/** Tokens that every answer says it took; a test may ask the gateway for them. */
export const FAKE_USAGE = { input: 100, output: 20 } as const;

/** Where an answer goes. */
export interface Answer {
  json(value: object): void;
  /** One server-sent event; `type` names it where the wire does. */
  event(data: object | string, type?: string): void;
  end(): void;
}

type Spoken = Exclude<Plan, { kind: "status" }>;

export interface Wire {
  read(body: unknown, path: string): NeutralRequest;
  write(request: NeutralRequest, plan: Spoken, answer: Answer): Promise<void>;
}

const Items = z.array(z.looseObject({}));
const Tools = z.array(z.looseObject({ name: z.string().optional(), type: z.string().optional() }));

const anthropicBody = z.looseObject({
  model: z.string(),
  stream: z.boolean().optional(),
  tools: Tools.optional(),
  messages: z.array(z.looseObject({ role: z.string(), content: z.union([z.string(), Items]) })),
});
const responsesBody = z.looseObject({
  model: z.string(),
  stream: z.boolean().optional(),
  tools: Tools.optional(),
  input: z.union([z.string(), Items]),
});
const chatBody = z.looseObject({
  model: z.string(),
  stream: z.boolean().optional(),
  stream_options: z.looseObject({ include_usage: z.boolean().optional() }).optional(),
  tools: z.array(z.looseObject({ function: z.looseObject({ name: z.string() }) })).optional(),
  messages: z.array(z.looseObject({ role: z.string() })),
});
const geminiBody = z.looseObject({
  contents: z.array(z.looseObject({ role: z.string().optional(), parts: Items.optional() })),
  tools: z
    .array(
      z.looseObject({
        functionDeclarations: z.array(z.looseObject({ name: z.string() })).optional(),
      }),
    )
    .optional(),
});

let made = 0;
const id = (prefix: string): string => `${prefix}_fake${String((made += 1)).padStart(6, "0")}`;

/** The text in pieces at the planned pace; a stalled answer gives its pieces and then never ends. */
async function* pieces(plan: Extract<Plan, { kind: "text" }>): AsyncGenerator<string> {
  const words = plan.text.match(/\S+\s*|\s+/g) ?? [""];
  for (const word of words) {
    if (plan.slowMs > 0) await timers.setTimeout(plan.slowMs / words.length);
    yield word;
  }
}

const isStalled = (plan: Spoken): boolean => plan.kind === "text" && plan.stall;

const anthropic: Wire = {
  read(body) {
    const { model, stream, tools, messages } = anthropicBody.parse(body);
    const turns = messages.flatMap(({ role, content }) => {
      if (role !== "user") return [{ kind: "other" as const, text: "" }];
      if (typeof content === "string") return [{ kind: "user" as const, text: content }];
      return content.map((part) => {
        if (part["type"] === "tool_result")
          return { kind: "result" as const, text: textOf(part["content"]) };
        const kind = part["type"] === "text" ? ("user" as const) : ("other" as const);
        return { kind, text: textOf(part["text"]) };
      });
    });
    return { model, stream: stream === true, tools: named(tools), turns };
  },
  async write({ model, stream }, plan, answer) {
    const message = {
      id: id("msg"),
      type: "message",
      role: "assistant",
      model,
      stop_sequence: null,
      usage: {
        input_tokens: FAKE_USAGE.input,
        output_tokens: stream ? 1 : FAKE_USAGE.output,
        cache_read_input_tokens: 0,
        cache_creation_input_tokens: 0,
      },
    };
    const block =
      plan.kind === "tool"
        ? { type: "tool_use", id: id("toolu"), name: plan.tool.name, input: {} }
        : { type: "text", text: "" };
    const stop_reason = plan.kind === "tool" ? "tool_use" : "end_turn";
    if (!stream) {
      const content =
        plan.kind === "tool" ? { ...block, input: plan.input } : { ...block, text: plan.text };
      return answer.json({ ...message, content: [content], stop_reason });
    }
    const event = (type: string, fields: object): void => answer.event({ type, ...fields }, type);
    event("message_start", { message: { ...message, content: [], stop_reason: null } });
    event("content_block_start", { index: 0, content_block: block });
    if (plan.kind === "tool") {
      const partial_json = JSON.stringify(plan.input);
      event("content_block_delta", { index: 0, delta: { type: "input_json_delta", partial_json } });
    } else {
      for await (const text of pieces(plan))
        event("content_block_delta", { index: 0, delta: { type: "text_delta", text } });
      if (isStalled(plan)) return;
    }
    event("content_block_stop", { index: 0 });
    event("message_delta", {
      delta: { stop_reason, stop_sequence: null },
      usage: { output_tokens: FAKE_USAGE.output },
    });
    event("message_stop", {});
    answer.end();
  },
};

const responses: Wire = {
  read(body) {
    const { model, stream, tools, input } = responsesBody.parse(body);
    const items = typeof input === "string" ? [{ role: "user", content: input }] : input;
    const turns = items.map((item: Record<string, unknown>) => {
      const type = item["type"] ?? "message";
      if (type === "function_call_output" || type === "custom_tool_call_output")
        return { kind: "result" as const, text: textOf(item["output"]) };
      const isUser = type === "message" && item["role"] === "user";
      return {
        kind: isUser ? ("user" as const) : ("other" as const),
        text: textOf(item["content"]),
      };
    });
    const offered = (tools ?? []).flatMap((tool): OfferedTool[] =>
      tool.type === "namespace" && Array.isArray(tool["tools"])
        ? named(Tools.parse(tool["tools"])).map((each) => ({
            ...each,
            ...(tool.name === undefined ? {} : { namespace: tool.name }),
          }))
        : named([tool]),
    );
    return { model, stream: stream !== false, tools: offered, turns };
  },
  async write({ model, stream }, plan, answer) {
    const head = {
      id: id("resp"),
      object: "response",
      created_at: Math.floor(Date.now() / 1000),
      model,
      parallel_tool_calls: true,
      tools: [],
    };
    const usage = {
      input_tokens: FAKE_USAGE.input,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: FAKE_USAGE.output,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: FAKE_USAGE.input + FAKE_USAGE.output,
    };
    let sequence_number = 0;
    const event = (type: string, fields: object): void => {
      if (stream) answer.event({ type, sequence_number: sequence_number++, ...fields }, type);
    };
    event("response.created", { response: { ...head, status: "in_progress", output: [] } });
    const item =
      plan.kind === "tool"
        ? toolItem(plan, event)
        : { type: "message", id: id("msg"), role: "assistant", status: "completed", content: [] };
    if (plan.kind === "text") {
      const at = { item_id: item.id, output_index: 0, content_index: 0 };
      const part = { type: "output_text", text: "", annotations: [] };
      event("response.output_item.added", {
        output_index: 0,
        item: { ...item, status: "in_progress" },
      });
      event("response.content_part.added", { ...at, part });
      for await (const delta of pieces(plan)) event("response.output_text.delta", { ...at, delta });
      if (isStalled(plan)) return;
      const whole = { ...part, text: plan.text };
      event("response.output_text.done", { ...at, text: plan.text });
      event("response.content_part.done", { ...at, part: whole });
      Object.assign(item, { content: [whole] });
    }
    event("response.output_item.done", { output_index: 0, item });
    const response = { ...head, status: "completed", output: [item], usage };
    if (!stream) return answer.json(response);
    event("response.completed", { response });
    answer.end();
  },
};

/** A call in the Responses wire; a custom tool takes plain text instead of JSON. */
function toolItem(
  { tool, input }: Extract<Plan, { kind: "tool" }>,
  event: (type: string, fields: object) => void,
): { id: string } & Record<string, unknown> {
  const isCustom = tool.type === "custom";
  const text = isCustom && typeof input === "string" ? input : JSON.stringify(input);
  const item = {
    id: id(isCustom ? "ctc" : "fc"),
    type: isCustom ? "custom_tool_call" : "function_call",
    call_id: id("call"),
    name: tool.name,
    ...(tool.namespace === undefined ? {} : { namespace: tool.namespace }),
    ...(isCustom ? { input: text } : { arguments: text }),
    status: "completed",
  };
  const begun = { ...item, ...(isCustom ? { input: "" } : { arguments: "" }) };
  event("response.output_item.added", {
    output_index: 0,
    item: { ...begun, status: "in_progress" },
  });
  if (!isCustom) {
    const at = { item_id: item.id, output_index: 0 };
    event("response.function_call_arguments.delta", { ...at, delta: text });
    event("response.function_call_arguments.done", { ...at, arguments: text });
  }
  return item;
}

const chat: Wire & { wantsUsage(body: unknown): boolean } = {
  wantsUsage: (body) => chatBody.safeParse(body).data?.stream_options?.include_usage === true,
  read(body) {
    const { model, stream, tools, messages } = chatBody.parse(body);
    const turns = messages.map((message) => ({
      kind: ({ tool: "result", user: "user" } as const)[message.role] ?? ("other" as const),
      text: textOf(message["content"]),
    }));
    const offered = (tools ?? []).map((tool) => ({ name: tool.function.name }));
    return { model, stream: stream === true, tools: offered, turns };
  },
  async write({ model, stream }, plan, answer) {
    const head = { id: id("chatcmpl"), created: Math.floor(Date.now() / 1000), model };
    const call =
      plan.kind === "tool"
        ? {
            id: id("call"),
            type: "function",
            function: { name: plan.tool.name, arguments: JSON.stringify(plan.input) },
          }
        : null;
    const finish_reason = call === null ? "stop" : "tool_calls";
    const usage = {
      prompt_tokens: FAKE_USAGE.input,
      completion_tokens: FAKE_USAGE.output,
      total_tokens: FAKE_USAGE.input + FAKE_USAGE.output,
    };
    if (!stream) {
      const content = plan.kind === "text" ? plan.text : null;
      const message = {
        role: "assistant",
        content,
        ...(call === null ? {} : { tool_calls: [call] }),
      };
      return answer.json({
        ...head,
        object: "chat.completion",
        choices: [{ index: 0, message, finish_reason }],
        usage,
      });
    }
    const chunk = (delta: object, finish: string | null = null): void =>
      answer.event({
        ...head,
        object: "chat.completion.chunk",
        choices: [{ index: 0, delta, finish_reason: finish }],
      });
    chunk({ role: "assistant", content: call === null ? "" : null });
    if (call !== null) chunk({ tool_calls: [{ index: 0, ...call }] });
    if (plan.kind === "text") for await (const content of pieces(plan)) chunk({ content });
    if (isStalled(plan)) return;
    chunk({}, finish_reason);
    answer.event({ ...head, object: "chat.completion.chunk", choices: [], usage });
    answer.event("[DONE]");
    answer.end();
  },
};

const gemini: Wire = {
  read(body, path) {
    const { contents, tools } = geminiBody.parse(body);
    const turns = contents.flatMap(({ role, parts }) =>
      (parts ?? []).map((part) => {
        const result = part["functionResponse"] as { response?: unknown } | undefined;
        if (result !== undefined)
          return { kind: "result" as const, text: JSON.stringify(result.response) };
        const isUser = role !== "model" && typeof part["text"] === "string";
        return {
          kind: isUser ? ("user" as const) : ("other" as const),
          text: textOf(part["text"]),
        };
      }),
    );
    return {
      model: /models\/([^:/]+):/.exec(path)?.[1] ?? "",
      stream: path.endsWith(":streamGenerateContent"),
      tools: (tools ?? []).flatMap((tool) => tool.functionDeclarations ?? []),
      turns,
    };
  },
  async write({ model, stream }, plan, answer) {
    const usageMetadata = {
      promptTokenCount: FAKE_USAGE.input,
      candidatesTokenCount: FAKE_USAGE.output,
      totalTokenCount: FAKE_USAGE.input + FAKE_USAGE.output,
    };
    const responseId = id("gem");
    const candidate = (parts: object[], isLast: boolean): object => ({
      candidates: [
        {
          content: { role: "model", parts },
          index: 0,
          ...(isLast ? { finishReason: "STOP" } : {}),
        },
      ],
      usageMetadata,
      modelVersion: model,
      responseId,
    });
    const call =
      plan.kind === "tool"
        ? [{ functionCall: { id: id("fc"), name: plan.tool.name, args: plan.input } }]
        : null;
    if (!stream)
      return answer.json(
        candidate(call ?? [{ text: plan.kind === "text" ? plan.text : "" }], true),
      );
    if (call !== null) answer.event(candidate(call, true));
    if (plan.kind === "text") {
      for await (const text of pieces(plan)) answer.event(candidate([{ text }], false));
      if (isStalled(plan)) return;
      answer.event(candidate([{ text: "" }], true));
    }
    answer.end();
  },
};

function named(tools: z.infer<typeof Tools> | undefined): OfferedTool[] {
  return (tools ?? []).map(({ name, type }) => ({
    name: name ?? type ?? "",
    ...(type === undefined ? {} : { type }),
  }));
}

export const wires: Readonly<Record<WireName, Wire>> = { anthropic, responses, chat, gemini };

/** False for a streaming chat request that did not ask for its usage: OpenAI then leaves it out. */
export function tellsUsage(wire: WireName, body: unknown): boolean {
  return wire !== "chat" || chat.wantsUsage(body);
}
