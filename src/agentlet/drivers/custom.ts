import { genericRules } from "../states/rules/generic.ts";
import { goalFiles, isInlineGoal } from "./driver.ts";
import type { Driver, LaunchInput } from "./driver.ts";
import { modelAccessOf } from "./model-access.ts";
import type { ModelAccess } from "./model-access.ts";

/**
 * Any program: its own argv, the goal in AGENTKUBE_GOAL and in ~/.agentkube/goal, judged by its exit status. A model key that the
 * manifest delivers is also in AGENTKUBE_MODEL_KEY, whatever its provider.
 */
export const custom: Driver = {
  prepare(input) {
    const { spec, gateway } = input;
    const { goal } = spec.agent;
    return {
      argv: spec.agent.argv,
      env: {
        ...(goal !== null && isInlineGoal(goal) ? { AGENTKUBE_GOAL: goal } : {}),
        ...(spec.agent.model?.provider === undefined ? {} : modelEnv(input)),
        ...(gateway.modelKey === undefined ? {} : { AGENTKUBE_MODEL_KEY: gateway.modelKey }),
      },
      files: goalFiles(spec),
    };
  },
  rules: genericRules,
  openJudge: () => null,
};

/** The variables that SDKs of the named provider read. */
function modelEnv(input: LaunchInput): Record<string, string> {
  const access = modelAccessOf(input);
  return { ...keyOf(access), ...(access.baseUrl === null ? {} : baseOf(access, access.baseUrl)) };
}

function keyOf({ provider, key, brokered }: ModelAccess): Record<string, string> {
  switch (provider) {
    case "anthropic":
      return brokered ? { ANTHROPIC_AUTH_TOKEN: key } : { ANTHROPIC_API_KEY: key };
    case "openai":
      return { OPENAI_API_KEY: key };
    case "google":
      return { GEMINI_API_KEY: key };
  }
}

function baseOf({ provider }: ModelAccess, base: string): Record<string, string> {
  switch (provider) {
    case "anthropic":
      return { ANTHROPIC_BASE_URL: base };
    case "openai":
      return { OPENAI_BASE_URL: `${base}/v1` };
    case "google":
      return { GOOGLE_GEMINI_BASE_URL: base };
  }
}
