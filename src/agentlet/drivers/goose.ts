import { goalFiles, homeFile, GOAL_FILE, promptOf } from "./driver.ts";
import type { Driver, LaunchInput } from "./driver.ts";
import { modelAccessOf, USUAL_MODEL } from "./model-access.ts";
import { isLoginLost, isObject, openStructuredJudge, textOf } from "./structured-judge.ts";
import type { LineResult } from "./structured-judge.ts";
import { gooseRules } from "../states/rules/goose.ts";

const SESSION = "agentkube";

/** Goose: a provider of its usual kinds with the gateway as host. No hooks: its screen and its prompt line tell. Measured with 1.34.0. */
export const goose: Driver = {
  prepare(input) {
    const { spec } = input;
    return {
      argv: argvOf(input),
      env: { GOOSE_DISABLE_KEYRING: "1", ...modelEnv(input) },
      // YAML takes JSON as it is.
      files: [...goalFiles(spec), homeFile(".config/goose/config.yaml", configOf(input))],
    };
  },
  rules: gooseRules,
  openJudge: (spec) => (spec.agent.mode === "system" ? openGooseJudge() : null),
  session: {
    files: () => [".local/share/goose/sessions/sessions.db"],
    logs: [".local/share/goose/sessions/sessions.db-wal"],
    name: SESSION,
    // It takes its tools' address and headers from the session, not from its settings.
    holdsToken: true,
    modes: ["supervised", "system"],
  },
};

function argvOf({ spec, resume }: LaunchInput): string[] {
  const { argv, goal, mode } = spec.agent;
  const name = ["--name", resume ?? SESSION, ...(resume === null ? [] : ["--resume"])];
  if (mode === "system") {
    const output = ["--output-format", "stream-json", "--quiet"];
    return [...argv, "run", ...output, ...name, ...(goal === null ? [] : ["-i", GOAL_FILE])];
  }
  if (goal === null) return [...argv, "session", ...name];
  return [...argv, "run", "--interactive", ...name, "-t", promptOf(goal)];
}

function modelEnv(input: LaunchInput): Record<string, string> {
  const { provider, baseUrl, key } = modelAccessOf(input);
  const [host, variable] = {
    anthropic: ["ANTHROPIC_HOST", "ANTHROPIC_API_KEY"],
    openai: ["OPENAI_HOST", "OPENAI_API_KEY"],
    google: ["GOOGLE_HOST", "GOOGLE_API_KEY"],
  }[provider] as [string, string];
  return { [variable]: key, ...(baseUrl === null ? {} : { [host]: baseUrl }) };
}

function configOf(input: LaunchInput): object {
  const { spec, gateway } = input;
  const { provider, name } = modelAccessOf(input);
  return {
    GOOSE_PROVIDER: provider,
    GOOSE_MODEL: name ?? USUAL_MODEL[provider],
    // It has no finer setting: with `approve` tools of ours are asked about too.
    GOOSE_MODE: spec.agent.mode === "system" ? "auto" : "approve",
    GOOSE_TELEMETRY_ENABLED: false,
    extensions: {
      developer: { type: "builtin", name: "developer", enabled: true, timeout: 300, bundled: true },
      agentkube: {
        type: "streamable_http",
        name: "agentkube",
        description: "Tools of this run",
        uri: `${gateway.url}/mcp`,
        headers: { Authorization: `Bearer ${gateway.agentToken}` },
        enabled: true,
        timeout: 300,
      },
    },
  };
}

/** It exits with 0 even after an error of the model, and says the error as an answer: both are looked for. */
function openGooseJudge() {
  let failed: string | null = null;
  return openStructuredJudge({
    cli: "Goose",
    read(line): LineResult | null {
      if (line["type"] === "error") failed = textOf(line["error"]) || textOf(line["message"]);
      if (line["type"] === "message") failed = errorOf(line["message"]);
      if (line["type"] !== "complete" && failed === null) return null;
      if (failed === null) return { kind: "done" };
      return { kind: "error", cause: failed, loginLost: isLoginLost(failed) };
    },
  });
}

function errorOf(message: unknown): string | null {
  if (!isObject(message) || message["role"] !== "assistant" || !Array.isArray(message["content"]))
    return null;
  for (const part of message["content"] as unknown[]) {
    const text = isObject(part) ? textOf(part["text"]) : "";
    if (text.startsWith("Ran into this error:")) return text;
  }
  return null;
}
