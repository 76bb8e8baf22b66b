import type { AgentSpec } from "../protocol/agent-manifest.ts";
import { knownRuntimes } from "../protocol/runtimes.ts";

type Model = AgentSpec["model"];

/**
 * The Agent's model with its provider decided, so that the CLI and the gateway mean the same one: declared, else told by the form
 * of the key, else OpenAI's API, which every runtime of many speaks. A runtime of one is left alone.
 */
export function withProvider({ runtime, model }: AgentSpec, key: Buffer | null): Model {
  // A Custom program is told by its own configuration.
  const isByKey = runtime !== "Custom" && knownRuntimes[runtime].provider === "by key";
  if (model?.provider !== undefined || !isByKey) return model;
  const form = key?.toString("latin1") ?? "";
  if (form.startsWith("sk-ant-")) return { ...model, provider: "anthropic" };
  return { ...model, provider: form.startsWith("AIza") ? "google" : "openai" };
}
