import { existsSync } from "node:fs";
import { join } from "node:path";
import { GOAL_FILE, goalFiles, HOME, promptOf } from "./driver.ts";
import type { Driver, LaunchInput } from "./driver.ts";
import { reportCommand } from "./hooks.ts";
import { modelAccessOf, USUAL_MODEL } from "./model-access.ts";
import { aiderRules } from "../states/rules/aider.ts";

const QUIET = [
  "--no-check-update",
  "--no-show-release-notes",
  "--no-show-model-warnings",
  "--analytics-disable",
  "--no-gitignore",
  "--no-detect-urls",
];
const HISTORY = `${HOME}/.aider.chat.history.md`;

/** Aider: model through the gateway by LiteLLM's variables; no MCP, its tools are the programs on PATH. */
export const aider: Driver = {
  prepare(input) {
    const { spec } = input;
    return { argv: argvOf(input), env: modelEnv(input), files: goalFiles(spec) };
  },
  rules: aiderRules,
  openJudge: () => null,
  quit: ["/exit", "\r"],
};

function argvOf(input: LaunchInput): string[] {
  const { spec, resume } = input;
  const { argv, goal, mode } = spec.agent;
  const { provider, name } = modelAccessOf(input, "openai");
  const model = name ?? USUAL_MODEL[provider];
  const prefix = { anthropic: "anthropic", openai: "openai", google: "gemini" }[provider];
  const words = [...argv, ...QUIET, "--model", model.includes("/") ? model : `${prefix}/${model}`];
  words.push(
    "--chat-history-file",
    HISTORY,
    "--input-history-file",
    `${HOME}/.aider.input.history`,
  );
  // It would make a repository of a workspace that is none; a repository around the workspace is not in zone A.
  if (!existsSync(join(spec.zone.workspace, ".git"))) words.push("--no-git");
  if (resume !== null) words.push("--restore-chat-history");
  if (mode === "system") {
    words.push("--no-pretty", "--no-fancy-input", "--no-stream", "--yes-always");
    return goal === null ? words : [...words, "--message-file", GOAL_FILE];
  }
  words.push("--notifications", "--notifications-command", reportCommand("waiting"));
  return goal === null || resume !== null ? words : [...words, "--message", promptOf(goal)];
}

function modelEnv(input: LaunchInput): Record<string, string> {
  const { provider, baseUrl, key } = modelAccessOf(input, "openai");
  const [base, variable, version] = {
    anthropic: ["ANTHROPIC_API_BASE", "ANTHROPIC_API_KEY", ""],
    openai: ["OPENAI_API_BASE", "OPENAI_API_KEY", "/v1"],
    google: ["GEMINI_API_BASE", "GEMINI_API_KEY", "/v1beta"],
  }[provider] as [string, string, string];
  // Else it asks a host of the internet for prices, and waits for it.
  const quiet = { LITELLM_LOCAL_MODEL_COST_MAP: "True" };
  return {
    ...quiet,
    [variable]: key,
    ...(baseUrl === null ? {} : { [base]: `${baseUrl}${version}` }),
  };
}
