import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { suite, test } from "node:test";
import { silentLog } from "../../../src/kit/log.ts";
import type { ModelBudget as Limits } from "../../../src/protocol/agent-manifest.ts";
import type { RunSpec } from "../../../src/protocol/run-spec.ts";
import type { BoundaryRequest } from "../../../src/tool-runner/boundary/boundary.ts";
import {
  type BudgetReached,
  chargeOf,
  ModelBudget,
} from "../../../src/tool-runner/boundary/model-budget.ts";
import { createModelGateway } from "../../../src/tool-runner/boundary/model-gateway.ts";
import { openUsageReader } from "../../../src/tool-runner/boundary/model-usage.ts";
import { openFakeModel } from "../../helpers/fake-model.ts";

const KEY = "model-key-0123456789abcdef";
const NONE = { requests: 0, inputTokens: 0, outputTokens: 0 };
const user = (text: string): object[] => [{ role: "user", content: text }];

type Ask = (stream: boolean, text?: string) => Promise<{ status: number; text: string }>;

const WIRES = {
  "Anthropic Messages": {
    provider: "anthropic",
    path: () => "/v1/messages",
    body: (stream: boolean, text: string) => ({ model: "m", stream, messages: user(text) }),
  },
  "OpenAI Responses": {
    provider: "openai",
    path: () => "/v1/responses",
    body: (stream: boolean, text: string) => ({ model: "m", stream, input: text }),
  },
  "OpenAI Chat Completions": {
    provider: "openai",
    path: () => "/v1/chat/completions",
    body: (stream: boolean, text: string) => ({
      model: "m",
      stream,
      stream_options: { include_usage: true },
      messages: user(text),
    }),
  },
  Gemini: {
    provider: "google",
    path: (stream: boolean) =>
      `/v1beta/models/m:${stream ? "streamGenerateContent?alt=sse" : "generateContent"}`,
    body: (_: boolean, text: string) => ({ contents: [{ role: "user", parts: [{ text }] }] }),
  },
} as const;

interface Open extends AsyncDisposable {
  url: string;
  records: BoundaryRequest[];
  reached: BudgetReached[];
  upstreamRequests(): number;
  ask: Ask;
}

async function open(
  wire: keyof typeof WIRES,
  limits?: Limits,
  used: Readonly<typeof NONE> = NONE,
): Promise<Open> {
  const model = await openFakeModel(KEY);
  const records: BoundaryRequest[] = [];
  const reached: BudgetReached[] = [];
  const { provider, path, body } = WIRES[wire];
  const spec = {
    agent: { runtime: "Custom", model: { provider } },
    modelEndpoint: { url: model.url },
  } as unknown as RunSpec;
  const gateway = createModelGateway({
    spec,
    key: Buffer.from(KEY),
    log: silentLog,
    onRequest: (record) => records.push(record),
    budget: new ModelBudget(limits, used, (what) => reached.push(what)),
  });
  const server = http.createServer(gateway).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model/${provider}`;
  return {
    url,
    records,
    reached,
    upstreamRequests: () => model.requests.length,
    async ask(stream, text = "[[say done]]") {
      const answer = await fetch(url + path(stream), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body(stream, text)),
      });
      return { status: answer.status, text: await answer.text() };
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await model[Symbol.asyncDispose]();
    },
  };
}

suite("what model requests take", () => {
  for (const wire of Object.keys(WIRES) as (keyof typeof WIRES)[]) {
    test(`${wire}: tokens are in the audit, as events and whole`, async () => {
      await using gateway = await open(wire);

      await gateway.ask(true);
      await gateway.ask(false);

      const usage = { inputTokens: 100, outputTokens: 20, cachedTokens: 0 };
      assert.deepEqual(
        gateway.records.map((record) => record.usage),
        [usage, usage],
      );
    });

    test(`${wire}: at the limit a request is refused in the provider's own shape, and goes nowhere`, async () => {
      await using gateway = await open(wire, { totalTokens: 200 });

      const first = await gateway.ask(true);
      const second = await gateway.ask(false);
      const third = await gateway.ask(true);

      assert.deepEqual([first.status, second.status, third.status], [200, 200, 403]);
      assert.equal(gateway.upstreamRequests(), 2);
      const { error } = JSON.parse(third.text) as { error: Record<string, unknown> };
      assert.match(String(error["message"]), /used up: 240 of 200 totalTokens; raise spec\.model/);
      assert.equal(error[wire === "Gemini" ? "status" : "type"], WORDS[wire]);
      assert.equal(gateway.records.at(-1)?.verdict, "refused_budget");
      assert.equal(gateway.records.at(-1)?.usage, undefined);
      assert.deepEqual(gateway.reached, [{ limit: "totalTokens", allowed: 200, used: 240 }]);
    });
  }

  test("requests are counted when they are let go, counting and lists of models are free", async () => {
    await using gateway = await open("Anthropic Messages", { requests: 2 });
    const free = async (): Promise<number> =>
      (await fetch(`${gateway.url}/v1/messages/count_tokens`, { method: "POST", body: "{}" }))
        .status;

    const answers = await Promise.all([gateway.ask(true), gateway.ask(true), gateway.ask(true)]);

    assert.deepEqual(
      answers.map(({ status }) => status).toSorted((a, b) => a - b),
      [200, 200, 403],
    );
    assert.equal(await free(), 200);
  });

  test("a budget goes on where an earlier life of the tool-runner left it", async () => {
    await using gateway = await open(
      "Anthropic Messages",
      { outputTokens: 60 },
      { ...NONE, outputTokens: 50 },
    );

    assert.equal((await gateway.ask(true)).status, 200);
    assert.equal((await gateway.ask(true)).status, 403);
  });

  test("what is not told is unknown and charged by its size: a chat stream without usage, an answer cut off", async () => {
    await using gateway = await open("OpenAI Chat Completions", { inputTokens: 30 });
    const ask = async (signal?: AbortSignal): Promise<number> => {
      const answer = await fetch(`${gateway.url}/v1/chat/completions`, {
        method: "POST",
        body: JSON.stringify({ model: "m", stream: true, messages: user("[[slow 300]]") }),
        ...(signal === undefined ? {} : { signal }),
      });
      await answer.text();
      return answer.status;
    };
    const cut = new AbortController();
    setTimeout(() => cut.abort(), 100);

    await assert.rejects(ask(cut.signal));
    assert.equal(await ask(), 200);
    assert.equal(await ask(), 403);

    assert.deepEqual(
      gateway.records.map(({ usage }) => usage),
      ["unknown", "unknown", undefined],
    );
  });

  test("an upstream that refuses took nothing; one that fails took nobody knows what", async () => {
    await using gateway = await open("OpenAI Responses");

    await gateway.ask(false, "[[status 429]]");
    await gateway.ask(false, "[[status 500]]");

    const nothing = { inputTokens: 0, outputTokens: 0, cachedTokens: 0 };
    assert.deepEqual(
      gateway.records.map(({ usage }) => usage),
      [nothing, "unknown"],
    );
  });

  test("usage is read across any split, cached input included, and text that looks like it counts for nothing", () => {
    const events = [
      `event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":7,"cache_creation_input_tokens":11,"output_tokens":1}}}\n\n`,
      `data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"\\"usage\\":{\\"output_tokens\\":0}"}}\n\n`,
      `data: {"type":"content_block_start","content_block":{"type":"tool_use","input":{"usage":{"output_tokens":0}}}}\r\n\r\n`,
      `data: {"type":"message_delta","usage":{"output_tokens":40}}\n\n`,
    ].join("");
    for (let size = 1; size < 64; size += 1) {
      const reader = openUsageReader("anthropic");
      reader.begin(200, "text/event-stream; charset=utf-8");
      const bytes = Buffer.from(events);
      for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size));
      assert.deepEqual(reader.end(true), { inputTokens: 23, outputTokens: 40, cachedTokens: 7 });
    }
  });

  test("an event larger than is looked into leaves the usage unknown, never zero", () => {
    const reader = openUsageReader("openai");
    reader.begin(200, "text/event-stream");
    reader.push(Buffer.from(`data: {"usage":{"input_tokens":1,"output_tokens":1},"x":"`));
    for (let index = 0; index < 3; index += 1) reader.push(Buffer.alloc(1024 * 1024, 0x61));
    reader.push(Buffer.from(`"}\n\n`));

    const usage = reader.end(true);

    assert.equal(usage, "unknown");
    assert.deepEqual(chargeOf({ usage, bytesUp: 0, bytesDown: 0 }), {
      inputTokens: 1,
      outputTokens: 1,
    });
  });
});

const WORDS = {
  "Anthropic Messages": "permission_error",
  "OpenAI Responses": "permission_error",
  "OpenAI Chat Completions": "permission_error",
  Gemini: "PERMISSION_DENIED",
} as const;
