import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { MAX_ASK_DETAIL } from "../../protocol/agentlet-link.ts";
import type { Report } from "../report-socket.ts";
import type { Signal } from "../states/signal.ts";
import { goalFiles, homeFile, isAskedForAll, promptOf, withGoalOnStdin } from "./driver.ts";
import type { Driver, Launch, LaunchInput } from "./driver.ts";
import { modelAccessOf, TOKEN_VARIABLE, USUAL_MODEL } from "./model-access.ts";
import type { ModelAccess } from "./model-access.ts";
import { permissionOf, questionOf } from "./hook-claims.ts";
import { isLoginLost, isObject, openStructuredJudge, textOf } from "./structured-judge.ts";
import type { LineResult } from "./structured-judge.ts";
import { openCodeRules } from "../states/rules/open-code.ts";

const KEY_VARIABLE = "OPENCODE_API_KEY";
const PLUGIN = fileURLToPath(new URL("open-code-plugin.js", import.meta.url));

/** OpenCode: its own provider entry that points at the gateway, no updates, no downloads. Measured with 1.18.33. */
export const openCode: Driver = {
  prepare(input) {
    const { spec, gateway, resume } = input;
    const { goal, mode } = spec.agent;
    const isTyped = mode === "supervised" && resume !== null && goal !== null;
    return {
      argv: argvOf(input),
      ...(isTyped ? { prompt: promptOf(goal) } : {}),
      env: {
        OPENCODE_DISABLE_AUTOUPDATE: "1",
        OPENCODE_DISABLE_MODELS_FETCH: "1",
        OPENCODE_DISABLE_LSP_DOWNLOAD: "1",
        ...(gateway.modelKey === undefined ? {} : { [KEY_VARIABLE]: gateway.modelKey }),
      },
      files: [
        ...goalFiles(spec),
        homeFile(".config/opencode/opencode.json", configOf(input)),
        ...pluginFiles(),
      ],
    };
  },
  rules: openCodeRules,
  openJudge: (spec) =>
    spec.agent.mode === "system" ? openStructuredJudge({ cli: "OpenCode", read: resultOf }) : null,
  signalOf: eventSignal,
  toolOf({ name, data }) {
    if (name === "tool.began") return { began: isObject(data) ? textOf(data["tool"]) : "" };
    return name === "tool.ended" ? { ended: true } : null;
  },
  sessionOf({ data }) {
    const id = isObject(data) ? textOf(data["sessionID"]) : "";
    return /^ses_\w{8,128}$/.test(id) ? id : null;
  },
  // All sessions of a HOME are in one database; a run has one.
  session: {
    files: () => [".local/share/opencode/opencode*.db"],
    logs: [".local/share/opencode/opencode*.db-wal"],
    modes: ["supervised", "system"],
  },
};

/**
 * The plugin, and what makes OpenCode believe that the package for writing plugins is installed beside it: ours does not need it,
 * and without a registry OpenCode waits for minutes.
 */
function pluginFiles(): Launch["files"] {
  const dependencies = { "@opencode-ai/plugin": "*" };
  return [
    homeFile(".config/opencode/plugin/agentkube.js", readFileSync(PLUGIN, "utf8")),
    homeFile(".config/opencode/package.json", { dependencies }),
    homeFile(".config/opencode/package-lock.json", { packages: { "": { dependencies } } }),
    homeFile(".config/opencode/node_modules/.keep", ""),
  ];
}

function argvOf({ spec, resume }: LaunchInput): string[] {
  const { argv, goal, mode } = spec.agent;
  const session = resume === null ? [] : ["-s", resume];
  if (mode === "supervised") {
    // In a session that it goes on with, `--prompt` is ignored.
    const prompt = goal === null ? [] : ["--prompt", promptOf(goal)];
    return [...argv, ...(resume === null ? prompt : session)];
  }
  const words = [...argv, "run", "--format", "json", "--auto", ...session];
  // A prompt with spaces on argv reaches the model in quotation marks; on standard input it does not.
  return goal === null ? words : withGoalOnStdin(words);
}

function configOf(input: LaunchInput): object {
  const { spec, gateway } = input;
  const access = modelAccessOf(input);
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
    permission: {
      edit: isAskedForAll(spec.agent) ? ask : "allow",
      bash: ask,
      webfetch: ask,
      "agentkube_*": "allow",
    },
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

function eventSignal({ name, data }: Report): Signal | null {
  const fields = isObject(data) ? data : {};
  const told = (state: Signal["state"]): Signal => ({ channel: "event", state, evidence: name });
  switch (name) {
    case "session.status": {
      const status = isObject(fields["status"]) ? textOf(fields["status"]["type"]) : "";
      // "retry" waits for the model's service.
      if (status === "idle") return { ...told("idle"), evidence: `${name} idle`, endsTurn: true };
      return status === "" ? null : { ...told("busy"), evidence: `${name} ${status}` };
    }
    case "permission.asked": {
      const metadata = isObject(fields["metadata"]) ? fields["metadata"] : {};
      const permission = textOf(fields["permission"]);
      const ask = permissionOf(permission, metadata);
      // Its dialog names the directories, not the command that wants them.
      if (permission === "external_directory" && Array.isArray(fields["patterns"]))
        ask.detail = [ask.detail, ...fields["patterns"].map(textOf)]
          .join("\n")
          .slice(0, MAX_ASK_DETAIL);
      return { ...told("permission"), ask };
    }
    case "question.asked":
      return { ...told("question"), ask: questionOf(fields) };
    case "permission.replied":
    case "question.replied":
      return told("busy");
    default:
      return null;
  }
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
      const details = isObject(line["error"]) ? line["error"]["data"] : null;
      const is401 = isObject(details) && details["statusCode"] === 401;
      return { kind: "error", cause, loginLost: is401 || isLoginLost(cause) };
    }
    default:
      return null;
  }
}
