import type { Signal } from "../states/signal.ts";
import { goalFiles, homeFile, promptOf } from "./driver.ts";
import type { Driver, Judge, LaunchInput } from "./driver.ts";
import { reportCommand } from "./hooks.ts";
import { modelAccessOf, USUAL_MODEL } from "./model-access.ts";
import { isLoginLost, isObject, openStructuredJudge, textOf } from "./structured-judge.ts";
import type { LineResult } from "./structured-judge.ts";
import { clineRules } from "../states/rules/cline.ts";

const HOOKS = ["TaskStart", "PreToolUse", "PostToolUse", "TaskComplete", "SessionShutdown"];

/** Cline: its provider file points at the gateway. Its settings take no variable, so the run's token is in two files of HOME. Measured with 3.0.65. */
export const cline: Driver = {
  prepare(input) {
    const { spec, resume } = input;
    const { goal } = spec.agent;
    return {
      argv: argvOf(input),
      // With a session to go on with it takes no prompt on its command line.
      ...(resume === null || goal === null ? {} : { prompt: promptOf(goal) }),
      env: { CLINE_NO_AUTO_UPDATE: "1", CLINE_DISABLE_CLINE_PASS_NOTICE: "1" },
      files: [
        ...goalFiles(spec),
        homeFile(".cline/data/settings/providers.json", providersOf(input)),
        homeFile(".cline/data/settings/cline_mcp_settings.json", serversOf(input)),
        ...HOOKS.map((name) =>
          homeFile(`.cline/hooks/${name}`, `#!/bin/sh\nexec ${reportCommand(name)}\n`, 0o700),
        ),
      ],
    };
  },
  rules: clineRules,
  openJudge: (spec) => (spec.agent.mode === "system" ? openClineJudge() : null),
  signalOf({ name, data }) {
    const told = (state: Signal["state"]): Signal => ({ channel: "hook", state, evidence: name });
    switch (name) {
      case "TaskStart":
      case "PostToolUse":
        return told("busy");
      case "PreToolUse":
        return told(toolOf(data) === "ask_question" ? "question" : "busy");
      // No hook tells of a permission that is asked for: its screen does.
      case "TaskComplete":
      case "SessionShutdown":
        return { ...told("idle"), endsTurn: true };
      default:
        return null;
    }
  },
  toolOf({ name, data }) {
    if (name === "PreToolUse") return { began: toolOf(data) };
    return name === "PostToolUse" ? { ended: true } : null;
  },
  sessionOf({ data }) {
    const context = isObject(data) ? data["sessionContext"] : null;
    const id = isObject(context) ? textOf(context["rootSessionId"]) : "";
    return /^\d{8,20}_\w{1,64}$/.test(id) ? id : null;
  },
  session: {
    files: (id) => [`.cline/data/sessions/${id}/**`],
    // One-shot it goes on with none: `--id` takes it to its terminal.
    modes: ["supervised"],
  },
};

function argvOf({ spec, resume }: LaunchInput): string[] {
  const { argv, goal, mode } = spec.agent;
  if (mode === "system")
    return [...argv, "--json", "--auto-approve", "true", ...(goal === null ? [] : [worded(goal)])];
  const prompt = goal === null ? [] : [worded(goal)];
  const words = resume === null ? prompt : ["--id", resume];
  return [...argv, "-i", "--auto-approve", "false", ...words];
}

function toolOf(data: unknown): string {
  const use = isObject(data) ? data["preToolUse"] : null;
  return isObject(use) ? textOf(use["toolName"] ?? use["tool"]) : "";
}

/** A prompt of one word would be taken for a command, and one that begins with a dash for an option. */
function worded(goal: string): string {
  const prompt = promptOf(goal);
  return /^[^-\s]\S*\s+\S/.test(prompt.trim()) ? prompt : `Please: ${prompt}`;
}

function providersOf(input: LaunchInput): object {
  const { provider, name, baseUrl, key } = modelAccessOf(input);
  const id = { anthropic: "anthropic", openai: "openai-compatible", google: "gemini" }[provider];
  const path = provider === "google" ? "" : "/v1";
  const settings = {
    provider: id,
    apiKey: key,
    model: name ?? USUAL_MODEL[provider],
    ...(baseUrl === null
      ? provider === "openai"
        ? { baseUrl: "https://api.openai.com/v1" }
        : {}
      : { baseUrl: `${baseUrl}${path}` }),
  };
  const entry = { settings, updatedAt: "2026-01-01T00:00:00.000Z", tokenSource: "manual" };
  return { version: 1, lastUsedProvider: id, modes: {}, providers: { [id]: entry } };
}

function serversOf({ spec, gateway }: LaunchInput): object {
  const autoApprove = spec.tools.flatMap((tool) =>
    (tool.spec.operations ?? []).map((operation) => `${tool.name}_${operation.name}`),
  );
  const headers = { Authorization: `Bearer ${gateway.agentToken}` };
  const server = { type: "streamableHttp", url: `${gateway.url}/mcp`, headers, autoApprove };
  return { mcpServers: { agentkube: server } };
}

/** `--json`: the last line is the result; what kind of error it was is said before. */
function openClineJudge(): Judge {
  let loginLost = false;
  const errorOf = (cause: string): LineResult => ({
    kind: "error",
    cause,
    loginLost: loginLost || isLoginLost(cause),
  });
  return openStructuredJudge({
    cli: "Cline",
    read(line): LineResult | null {
      const event = line["event"];
      if (isObject(event) && event["type"] === "error") loginLost = event["errorClass"] === "auth";
      if (line["type"] === "error") return errorOf(textOf(line["message"] ?? line["error"]));
      if (line["type"] !== "run_result") return null;
      const reason = textOf(line["finishReason"]);
      if (reason === "completed" || reason === "stop") return { kind: "done" };
      return errorOf([reason, textOf(line["text"])].filter((word) => word !== "").join(": "));
    },
  });
}
