import type { AgentSpec } from "../protocol/agent-manifest.ts";

type Model = AgentSpec["model"];

/** Runtimes that speak to one provider unless told otherwise, or that are told by their own configuration. */
const DECIDED: ReadonlySet<AgentSpec["runtime"]> = new Set([
  "ClaudeCode",
  "Codex",
  "Cursor",
  "Custom",
]);

/**
 * The Agent's model with its provider decided, so that the CLI and the gateway mean the same one: declared, else told by the form
 * of the key, else OpenAI's API, which every one of these runtimes speaks.
 */
export function withProvider({ runtime, model }: AgentSpec, key: Buffer | null): Model {
  if (model?.provider !== undefined || DECIDED.has(runtime)) return model;
  const form = key?.toString("latin1") ?? "";
  if (form.startsWith("sk-ant-")) return { ...model, provider: "anthropic" };
  return { ...model, provider: form.startsWith("AIza") ? "google" : "openai" };
}
