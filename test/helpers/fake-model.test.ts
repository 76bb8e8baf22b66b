import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { openFakeModel } from "./fake-model.ts";

const KEY = "dummy-model-key";

const WIRES = [
  {
    wire: "Anthropic Messages",
    path: "/v1/messages",
    body: (text: string, stream: boolean) => ({
      model: "m",
      stream,
      tools: [{ name: "run_it" }],
      messages: [{ role: "user", content: text }],
    }),
    said: /"text":"done"/,
    called: /"name":"run_it"/,
    usage: /"input_tokens":100/,
  },
  {
    wire: "OpenAI Responses",
    path: "/v1/responses",
    body: (text: string, stream: boolean) => ({
      model: "m",
      stream,
      tools: [{ type: "function", name: "run_it" }],
      input: [{ type: "message", role: "user", content: [{ type: "input_text", text }] }],
    }),
    said: /"(?:delta|text)":"done"/,
    called: /"type":"function_call".*"name":"run_it"/,
    usage: /"total_tokens":120/,
  },
  {
    wire: "OpenAI Chat Completions",
    path: "/v1/chat/completions",
    body: (text: string, stream: boolean) => ({
      model: "m",
      stream,
      stream_options: { include_usage: true },
      tools: [{ type: "function", function: { name: "run_it" } }],
      messages: [{ role: "user", content: text }],
    }),
    said: /"content":"done"/,
    called: /"tool_calls":\[.*"name":"run_it"/,
    usage: /"prompt_tokens":100/,
  },
  {
    wire: "Gemini",
    path: (stream: boolean) =>
      `/v1beta/models/m:${stream ? "streamGenerateContent" : "generateContent"}`,
    body: (text: string) => ({
      contents: [{ role: "user", parts: [{ text }] }],
      tools: [{ functionDeclarations: [{ name: "run_it" }] }],
    }),
    said: /"text":"done"/,
    called: /"functionCall":\{.*"name":"run_it"/,
    usage: /"promptTokenCount":100/,
  },
] as const;

suite("the scripted model", () => {
  for (const { wire, path, body, said, called, usage } of WIRES) {
    for (const stream of [false, true]) {
      test(`${wire} ${stream ? "as events" : "whole"}: says, calls and tells its usage`, async () => {
        await using model = await openFakeModel(KEY);
        const ask = async (text: string): Promise<string> => {
          const at = typeof path === "string" ? path : path(stream);
          const answer = await fetch(model.url + at, {
            method: "POST",
            headers: { authorization: `Bearer ${KEY}` },
            body: JSON.stringify(body(text, stream)),
          });
          assert.equal(answer.status, 200);
          return await answer.text();
        };

        const speech = await ask("[[say done]]");
        const call = await ask('[[tool *_it {"a": "]]"}]]');

        assert.match(speech, said);
        assert.match(speech, usage);
        assert.match(call, called);
        assert.equal(speech.includes("data: "), stream);
      });
    }
  }

  test("a chat stream that did not ask for usage is not told it, and a wrong key gets 401", async () => {
    await using model = await openFakeModel(KEY);
    const body = { model: "m", stream: true, messages: [{ role: "user", content: "hi" }] };
    const ask = async (key: string): Promise<Response> =>
      await fetch(`${model.url}/v1/chat/completions`, {
        method: "POST",
        headers: { authorization: `Bearer ${key}` },
        body: JSON.stringify(body),
      });

    const answer = await ask(KEY);

    assert.doesNotMatch(await answer.text(), /usage/);
    assert.equal((await ask("other")).status, 401);
  });
});
