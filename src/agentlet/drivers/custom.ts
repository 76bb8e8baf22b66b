import type { RunSpec } from "../../protocol/run-spec.ts";
import { goalFiles, isInlineGoal } from "./driver.ts";
import type { Driver, Gateway } from "./driver.ts";

/** Any program: its own argv, the goal in AGENTKUBE_GOAL and in ~/.agentkube/goal, judged by its exit status. */
export const custom: Driver = {
  prepare(spec, gateway) {
    const { goal } = spec.agent;
    return {
      argv: spec.agent.argv,
      env: {
        ...(goal !== null && isInlineGoal(goal) ? { AGENTKUBE_GOAL: goal } : {}),
        ...modelEnv(spec, gateway),
      },
      files: goalFiles(spec),
    };
  },
  rules: null,
  openJudge: () => null,
};

/**
 * The variables that SDKs of the named provider read. Brokered, the key is the agent's token, which only the gateway takes; else it is
 * the model key, which the program also finds in AGENTKUBE_MODEL_KEY whatever its provider.
 */
function modelEnv(spec: RunSpec, gateway: Gateway): Record<string, string> {
  if (gateway.modelKey !== undefined) return directEnv(spec, gateway.modelKey);
  const base = `${gateway.url}/model`;
  const key = gateway.agentToken;
  switch (spec.agent.model?.provider) {
    case "anthropic":
      return { ANTHROPIC_BASE_URL: `${base}/anthropic`, ANTHROPIC_AUTH_TOKEN: key };
    case "openai":
      return { OPENAI_BASE_URL: `${base}/openai/v1`, OPENAI_API_KEY: key };
    case "google":
      return { GOOGLE_GEMINI_BASE_URL: `${base}/google`, GEMINI_API_KEY: key };
    case undefined:
      return {};
  }
}

const DIRECT = {
  anthropic: ["ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"],
  openai: ["OPENAI_API_KEY", "OPENAI_BASE_URL"],
  google: ["GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL"],
} as const;

function directEnv(spec: RunSpec, modelKey: string): Record<string, string> {
  const provider = spec.agent.model?.provider;
  const env: Record<string, string> = { AGENTKUBE_MODEL_KEY: modelKey };
  if (provider === undefined) return env;
  const [keyName, urlName] = DIRECT[provider];
  env[keyName] = modelKey;
  if (spec.modelEndpoint !== null) env[urlName] = spec.modelEndpoint.url;
  return env;
}
