import { existsSync } from "node:fs";
import { join } from "node:path";
import { GOAL_FILE, goalFiles, HOME, homeFile } from "./driver.ts";
import type { Driver, Judge, LaunchInput } from "./driver.ts";
import { modelAccessOf, USUAL_MODEL } from "./model-access.ts";
import { isLoginLost } from "./structured-judge.ts";
import { aiderRules } from "../states/rules/aider.ts";

const QUIET = [
  "--no-check-update",
  "--no-show-release-notes",
  "--no-show-model-warnings",
  "--analytics-disable",
  "--no-gitignore",
  "--no-detect-urls",
];
const PRICES = ".aider/caches/model_prices_and_context_window.json";
const CHAT_HISTORY = ".aider.chat.history.md";

/** Aider: model through the gateway by LiteLLM's variables; no MCP, its tools are the programs on PATH. */
export const aider: Driver = {
  prepare(input) {
    const { spec } = input;
    return {
      argv: argvOf(input),
      // Its output is no terminal in a one-shot run: what it says is judged as it comes.
      env: { ...modelEnv(input), PYTHONUNBUFFERED: "1" },
      // A list of prices that is there and is not empty is not fetched; what a model is is known without it.
      files: [...goalFiles(spec), homeFile(PRICES, { "none of ours": {} })],
    };
  },
  rules: aiderRules,
  openJudge: (spec) => (spec.agent.mode === "system" ? openAiderJudge() : null),
  session: { files: () => [CHAT_HISTORY], name: "chat", modes: ["supervised", "system"] },
};

function argvOf(input: LaunchInput): string[] {
  const { spec, resume } = input;
  const { argv, goal, mode } = spec.agent;
  const { provider, name } = modelAccessOf(input);
  const model = name ?? USUAL_MODEL[provider];
  const prefix = { anthropic: "anthropic", openai: "openai", google: "gemini" }[provider];
  const words = [...argv, ...QUIET, "--model", model.includes("/") ? model : `${prefix}/${model}`];
  words.push(
    "--chat-history-file",
    `${HOME}/${CHAT_HISTORY}`,
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
  if (goal === null) return words;
  // A message makes it leave once it is done: it comes back with that conversation.
  const andStay = '"$@" --message-file "$0" && exec "$@" --restore-chat-history';
  return ["/bin/sh", "-c", andStay, GOAL_FILE, ...words];
}

function modelEnv(input: LaunchInput): Record<string, string> {
  const { provider, baseUrl, key } = modelAccessOf(input);
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

/** Only the end of a line that is longer is looked at. */
const MAX_LINE = 4096;

/**
 * Aider exits with 0 whatever its model said, and has no structured output: what it prints after an answer (its tokens) or instead
 * of one (LiteLLM's error) makes its exit status a failure, never a success.
 */
function openAiderJudge(): Judge {
  let line = "";
  let answered = false;
  let error: string | null = null;
  const endLine = (): void => {
    if (/^Tokens: \S+ sent\b/.test(line)) [answered, error] = [true, null];
    else if (/^litellm\.\w*(?:Error|Exception)\b/.test(line)) error = line;
    line = "";
  };
  return {
    result: new Promise(() => undefined),
    push(bytes) {
      const [first = "", ...rest] = bytes.toString("latin1").replaceAll("\r", "").split("\n");
      line = (line + first).slice(-MAX_LINE);
      for (const next of rest) {
        endLine();
        line = next.slice(-MAX_LINE);
      }
    },
    verdict(exit) {
      if (exit.kind !== "exited" || exit.code !== 0 || (answered && error === null)) return null;
      const loginLost = error !== null && isLoginLost(error);
      const cause =
        error === null
          ? "Aider exited with 0 and without an answer of its model; what it did is unknown"
          : `Aider's model failed: ${error}`;
      const reason = loginLost ? "login_lost" : "result_error";
      return { outcome: "failed", reason, exitCode: 0, signal: null, detail: { cause } };
    },
  };
}
