import { type ModelProvider, providerOf } from "../../protocol/runtimes.ts";
import type { LaunchInput } from "./driver.ts";

/** How a CLI reaches its model: through the gateway with the run's token, or by itself with the key it was given. */
export interface ModelAccess {
  provider: ModelProvider;
  name: string | null;
  /** base URL without a version; null: the provider's own */
  baseUrl: string | null;
  key: string;
  brokered: boolean;
}

/** The variable in which `zoneEnv` puts the agent's token; configuration names it, so that no file holds the token. */
export const TOKEN_VARIABLE = "AGENTKUBE_AGENT_TOKEN";

/** The declared provider, else the runtime's own, else OpenAI's API, which every runtime of several speaks. */
export function modelAccessOf(input: LaunchInput): ModelAccess {
  const { spec, gateway } = input;
  const { modelKey } = gateway;
  const provider = spec.agent.model?.provider ?? providerOf(spec.agent.runtime) ?? "openai";
  const name = spec.agent.model?.name ?? null;
  if (modelKey === undefined) {
    const baseUrl = `${gateway.url}/model/${provider}`;
    return { provider, name, baseUrl, key: gateway.agentToken, brokered: true };
  }
  const baseUrl = spec.modelEndpoint?.url.replace(/\/(?:v1(?:beta)?\/?)?$/, "") ?? null;
  return { provider, name, baseUrl, key: modelKey, brokered: false };
}

/** What to ask for when the Agent names no model and the CLI has no choice of its own for a provider that we configured. */
export const USUAL_MODEL: Readonly<Record<ModelProvider, string>> = {
  anthropic: "claude-sonnet-4-5",
  openai: "gpt-5.1",
  google: "gemini-2.5-pro",
};
