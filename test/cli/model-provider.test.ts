import assert from "node:assert/strict";
import { test } from "node:test";
import { withProvider } from "../../src/cli/model-provider.ts";

test("the provider is the declared one, else told by the key, else OpenAI's; a runtime of one provider is left alone", () => {
  const of = (runtime: "OpenCode" | "Codex" | "Custom", key: string | null) =>
    withProvider({ runtime }, key === null ? null : Buffer.from(key))?.provider;

  assert.equal(of("OpenCode", "sk-ant-api03-x"), "anthropic");
  assert.equal(of("OpenCode", "AIzaX"), "google");
  assert.equal(of("OpenCode", "anything"), "openai");
  assert.equal(of("OpenCode", null), "openai");
  assert.equal(of("Codex", "sk-ant-api03-x"), undefined);
  assert.equal(of("Custom", "sk-ant-api03-x"), undefined);
  const declared = { runtime: "OpenCode", model: { provider: "google", name: "g" } } as const;
  assert.deepEqual(withProvider(declared, Buffer.from("sk-ant-x")), declared.model);
});
