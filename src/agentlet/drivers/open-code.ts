import { goalFiles, homeFile, promptOf, withGoalOnStdin } from "./driver.ts";
import type { Driver, LaunchInput } from "./driver.ts";
import { modelAccessOf, TOKEN_VARIABLE, USUAL_MODEL } from "./model-access.ts";
import type { ModelAccess } from "./model-access.ts";
import { isLoginLost, openStructuredJudge, textOf } from "./structured-judge.ts";
import type { LineResult } from "./structured-judge.ts";
import { openCodeRules } from "../states/rules/open-code.ts";

const KEY_VARIABLE = "OPENCODE_API_KEY";

/** OpenCode: its own provider entry that points at the gateway, no updates, no downloads. Measured with 1.18.33. */
export const openCode: Driver = {
  prepare(input) {
    const { spec, gateway } = input;
    return {
      argv: argvOf(input),
      env: {
        OPENCODE_DISABLE_AUTOUPDATE: "1",
        OPENCODE_DISABLE_MODELS_FETCH: "1",
        OPENCODE_DISABLE_LSP_DOWNLOAD: "1",
        ...(gateway.modelKey === undefined ? {} : { [KEY_VARIABLE]: gateway.modelKey }),
      },
      files: [...goalFiles(spec), homeFile(".config/opencode/opencode.json", configOf(input))],
    };
  },
  rules: openCodeRules,
  openJudge: (spec) =>
    spec.agent.mode === "system" ? openStructuredJudge({ cli: "OpenCode", read: resultOf }) : null,
  quitKeys: "\x03",
};

function argvOf({ spec, resume }: LaunchInput): string[] {
  const { argv, goal, mode } = spec.agent;
  const session = resume === null ? [] : ["-s", resume];
  if (mode === "supervised")
    return [...argv, ...session, ...(goal === null ? [] : ["--prompt", promptOf(goal)])];
  const words = [...argv, "run", "--format", "json", "--auto", ...session];
  // A prompt with spaces on argv reaches the model in quotation marks; on standard input it does not.
  return goal === null ? words : withGoalOnStdin(words);
}

function configOf(input: LaunchInput): object {
  const { spec, gateway } = input;
  const access = modelAccessOf(input, "openai");
  const model = access.name ?? USUAL_MODEL[access.provider];
  const ask = spec.agent.mode === "supervised" ? "ask" : "allow";
  const headers = { Authorization: `Bearer {env:${TOKEN_VARIABLE}}` };
  return {
    $schema: "https://opencode.ai/config.json",
    provider: {
      agentkube: {
        ...wireOf(access),
        name: "agentkube",
        models: {
          [model]: { name: model, tool_call: true, limit: { context: 200_000, output: 8000 } },
        },
      },
    },
    model: `agentkube/${model}`,
    small_model: `agentkube/${model}`,
    enabled_providers: ["agentkube"],
    autoupdate: false,
    share: "disabled",
    permission: { edit: "allow", bash: ask, webfetch: ask, "agentkube_*": "allow" },
    mcp: {
      agentkube: {
        type: "remote",
        url: `${gateway.url}/mcp`,
        headers,
        oauth: false,
        enabled: true,
      },
    },
  };
}

/** The client library of the provider's wire and where it goes. The key stays a variable. */
function wireOf({ provider, baseUrl, brokered }: ModelAccess): object {
  const npm = {
    anthropic: "@ai-sdk/anthropic",
    openai: "@ai-sdk/openai-compatible",
    google: "@ai-sdk/google",
  }[provider];
  const own = {
    anthropic: "https://api.anthropic.com",
    openai: "https://api.openai.com",
    google: "https://generativelanguage.googleapis.com",
  }[provider];
  const version = provider === "google" ? "v1beta" : "v1";
  const apiKey = `{env:${brokered ? TOKEN_VARIABLE : KEY_VARIABLE}}`;
  return { npm, options: { baseURL: `${baseUrl ?? own}/${version}`, apiKey } };
}

/** `run --format json` has no last line: a step that stops for good is the result, and a later step takes it back. */
function resultOf(line: Record<string, unknown>): LineResult | null {
  switch (line["type"]) {
    case "step_start":
      return { kind: "more" };
    case "step_finish": {
      const part = line["part"];
      const reason =
        typeof part === "object" && part !== null && "reason" in part ? textOf(part.reason) : "";
      return reason === "stop" ? { kind: "done" } : { kind: "more" };
    }
    case "error": {
      const cause = textOf(line["error"]);
      return { kind: "error", cause, loginLost: isLoginLost(cause) };
    }
    default:
      return null;
  }
}
