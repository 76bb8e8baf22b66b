import * as z from "zod";
import type { ModelUsage } from "../../protocol/audit.ts";
import type { ModelProvider } from "../../protocol/runtimes.ts";

/** The longest event, or whole answer, that is looked into. A longer one leaves the usage unknown. */
const MAX_BYTES = 2 * 1024 * 1024;

type Known = Exclude<ModelUsage, "unknown">;

/** Reads from an answer what it took, while the answer passes. It changes nothing and holds back nothing. */
export interface UsageReader {
  /** The head of the answer; `contentType` as the provider wrote it. */
  begin(status: number, contentType: string): void;
  /** Some of the body, decoded. */
  push(chunk: Buffer): void;
  /**
   * What the provider said, once the answer is over. `isWhole` false: it was cut off. Whatever was not said to the end is
   * `unknown`, never zero; an answer that refuses the request (4xx) took nothing.
   */
  end(isWhole: boolean): ModelUsage;
}

export function openUsageReader(provider: ModelProvider): UsageReader {
  const read = readers[provider];
  let status = 0;
  let isEvents = false;
  let held: Buffer[] = [];
  let heldBytes = 0;
  let isLost = false;
  const found: Partial<Known> = {};
  let isFinal = false;

  const look = (value: unknown): void => {
    const part = read(value);
    if (part === null) return;
    Object.assign(found, part.usage);
    isFinal ||= part.isFinal;
  };
  const flush = (): void => {
    const bytes = Buffer.concat(held);
    held = [];
    heldBytes = 0;
    if (!bytes.includes("sage")) return;
    const text = isEvents ? dataOf(bytes) : bytes.toString("utf8");
    try {
      look(JSON.parse(text));
    } catch {
      isLost = true;
    }
  };
  const hold = (bytes: Buffer): void => {
    heldBytes += bytes.length;
    if (heldBytes <= MAX_BYTES) held.push(bytes);
    else {
      isLost = true;
      held = [];
    }
  };

  return {
    begin(answered, contentType) {
      status = answered;
      isEvents = /^text\/event-stream\b/i.test(contentType);
    },
    push(chunk) {
      let from = 0;
      // A whole answer is one text, whatever line breaks are in it.
      const next = (): number => (isEvents ? chunk.indexOf(10, from) : -1);
      for (let at = next(); at !== -1; at = next()) {
        hold(chunk.subarray(from, at));
        flush();
        from = at + 1;
      }
      // A copy: the chunk's memory is the socket's, and is used again.
      if (from < chunk.length) hold(Buffer.from(chunk.subarray(from)));
    },
    end(isWhole) {
      if (held.length > 0) flush();
      if (status >= 400 && status < 500)
        return { inputTokens: 0, outputTokens: 0, cachedTokens: 0 };
      const { inputTokens, outputTokens, cachedTokens = 0 } = found;
      const isKnown = inputTokens !== undefined && outputTokens !== undefined && isFinal;
      return isWhole && isKnown && !isLost && status >= 200 && status < 300
        ? { inputTokens, outputTokens, cachedTokens }
        : "unknown";
    },
  };
}

function dataOf(line: Buffer): string {
  const text = line.toString("utf8");
  return text.startsWith("data:") ? text.slice(5) : "null";
}

/** What one event, or a whole answer, says; `isFinal`: nothing comes after it that says more. Null: nothing. */
type Reading = { usage: Partial<Known>; isFinal: boolean } | null;

const Tokens = z.int().nonnegative().nullish();

const AnthropicUsage = z.looseObject({
  input_tokens: Tokens,
  output_tokens: Tokens,
  cache_creation_input_tokens: Tokens,
  cache_read_input_tokens: Tokens,
});
const Anthropic = z.looseObject({
  type: z.string().optional(),
  usage: AnthropicUsage.nullish(),
  message: z.looseObject({ usage: AnthropicUsage.nullish() }).nullish(),
});

function readAnthropic(value: unknown): Reading {
  const { data } = Anthropic.safeParse(value);
  const usage = data?.type === "message_start" ? data.message?.usage : data?.usage;
  if (usage == null) return null;
  const cached = usage.cache_read_input_tokens ?? 0;
  const input = usage.input_tokens;
  return {
    usage: {
      ...(input == null
        ? {}
        : {
            inputTokens: input + cached + (usage.cache_creation_input_tokens ?? 0),
            cachedTokens: cached,
          }),
      ...(usage.output_tokens == null ? {} : { outputTokens: usage.output_tokens }),
    },
    // message_start has a first count only; message_delta, or a whole message, the last one.
    isFinal: data?.type !== "message_start",
  };
}

const ResponsesUsage = z.looseObject({
  input_tokens: z.int().nonnegative(),
  output_tokens: z.int().nonnegative(),
  input_tokens_details: z.looseObject({ cached_tokens: Tokens }).nullish(),
});
const ChatUsage = z.looseObject({
  prompt_tokens: z.int().nonnegative(),
  completion_tokens: z.int().nonnegative(),
  prompt_tokens_details: z.looseObject({ cached_tokens: Tokens }).nullish(),
});
const OpenAi = z.looseObject({
  usage: z.unknown().optional(),
  response: z.looseObject({ usage: z.unknown().optional() }).nullish(),
});

function readOpenAi(value: unknown): Reading {
  const { data } = OpenAi.safeParse(value);
  const said = data?.response?.usage ?? data?.usage;
  const responses = ResponsesUsage.safeParse(said).data;
  if (responses !== undefined)
    return {
      usage: {
        inputTokens: responses.input_tokens,
        outputTokens: responses.output_tokens,
        cachedTokens: responses.input_tokens_details?.cached_tokens ?? 0,
      },
      isFinal: true,
    };
  const chat = ChatUsage.safeParse(said).data;
  if (chat === undefined) return null;
  return {
    usage: {
      inputTokens: chat.prompt_tokens,
      outputTokens: chat.completion_tokens,
      cachedTokens: chat.prompt_tokens_details?.cached_tokens ?? 0,
    },
    isFinal: true,
  };
}

const Gemini = z.looseObject({
  usageMetadata: z
    .looseObject({
      promptTokenCount: Tokens,
      toolUsePromptTokenCount: Tokens,
      candidatesTokenCount: Tokens,
      thoughtsTokenCount: Tokens,
      cachedContentTokenCount: Tokens,
    })
    .nullish(),
});

/** Every event has the sums so far; without `alt=sse` a stream is one array of them. */
function readGemini(value: unknown): Reading {
  const last: unknown = Array.isArray(value)
    ? (value as unknown[]).findLast((item) => Gemini.safeParse(item).data?.usageMetadata != null)
    : value;
  const usage = Gemini.safeParse(last).data?.usageMetadata;
  if (usage?.promptTokenCount == null) return null;
  return {
    usage: {
      inputTokens: usage.promptTokenCount + (usage.toolUsePromptTokenCount ?? 0),
      outputTokens: (usage.candidatesTokenCount ?? 0) + (usage.thoughtsTokenCount ?? 0),
      cachedTokens: usage.cachedContentTokenCount ?? 0,
    },
    isFinal: true,
  };
}

const readers: Readonly<Record<ModelProvider, (value: unknown) => Reading>> = {
  anthropic: readAnthropic,
  openai: readOpenAi,
  google: readGemini,
};
