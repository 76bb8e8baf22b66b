import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { claudeCodeRules } from "../states/rules/claude-code.ts";
import { HOME, goalFiles, homeFile, isAskedForAll, promptOf } from "./driver.ts";
import type { Driver, Judge, Launch, LaunchInput } from "./driver.ts";
import type { RunSpec } from "../../protocol/run-spec.ts";
import { hookSignal, sessionOfHook, toolOfHook } from "./hook-claims.ts";
import { NODE_IN_ZONE, reportCommand } from "./hooks.ts";
import { modelAccessOf, TOKEN_VARIABLE } from "./model-access.ts";
import { isLoginLost, isObject, openStructuredJudge, textOf } from "./structured-judge.ts";
import type { LineResult } from "./structured-judge.ts";

const MCP_FILE = `${HOME}/.agentkube/mcp.json`;
const TOOLS_LISTED = fileURLToPath(new URL("tools-listed.mjs", import.meta.url));

/** What hooks tell, from the first prompt to the end. `PermissionRequest` also tells of questions. */
const HOOKS = [
  "SessionStart",
  "UserPromptSubmit",
  "PreToolUse",
  "PermissionRequest",
  "PostToolUse",
  "Stop",
  "SessionEnd",
];
/** How the transcript says what no hook does: that a person ended the turn. */
const INTERRUPTED = "[Request interrupted by user";

/** Claude tries again for minutes after a key was refused; this often is no accident. */
const REFUSALS_OF_A_KEY = 3;

/** Claude Code: model and tools through the gateway, no dialog before its first turn. Measured with 2.1.329. */
export const claudeCode: Driver = {
  prepare(input) {
    const { spec } = input;
    return {
      argv: argvOf(input),
      env: {
        ...modelEnv(input),
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
        DISABLE_AUTOUPDATER: "1",
      },
      files: [...goalFiles(spec), ...configFiles(input)],
    };
  },
  rules: claudeCodeRules,
  openJudge: (spec) => (spec.agent.mode === "system" ? openClaudeJudge() : null),
  signalOf(report) {
    if (report.channel !== "transcript") return hookSignal(report);
    if (!isInterruption(report.data)) return null;
    return { channel: "transcript", state: "idle", evidence: "interrupted", endsTurn: true };
  },
  toolOf: toolOfHook,
  sessionOf: sessionOfHook,
  session: {
    // The transcript; beside it those of sub-agents and results that were too long for it.
    files: (id) => [`.claude/projects/*/${id}.jsonl`, `.claude/projects/*/${id}/**`],
    modes: ["supervised", "system"],
  },
};

function argvOf({ spec, resume }: LaunchInput): string[] {
  const { agent } = spec;
  const oneShot = agent.mode === "system";
  const argv = [...agent.argv];
  if (oneShot) argv.push("-p", "--output-format", "stream-json", "--verbose");
  if (agent.model?.name !== undefined) argv.push("--model", agent.model.name);
  if (resume !== null) argv.push("--resume", resume);
  // A person watches a supervised run and answers; nobody answers a one-shot run, and zone A is its sandbox.
  const supervised = isAskedForAll(agent) ? "default" : "acceptEdits";
  argv.push("--permission-mode", oneShot ? "bypassPermissions" : supervised);
  argv.push("--mcp-config", MCP_FILE, "--strict-mcp-config", "--allowedTools", "mcp__agentkube");
  // --allowedTools takes many values: the prompt must not become one of them.
  if (agent.goal !== null) argv.push("--", promptOf(agent.goal));
  return argv;
}

function modelEnv(input: LaunchInput): Record<string, string> {
  const { baseUrl, key, brokered } = modelAccessOf(input);
  const base: Record<string, string> = baseUrl === null ? {} : { ANTHROPIC_BASE_URL: baseUrl };
  if (brokered) return { ...base, ANTHROPIC_AUTH_TOKEN: key };
  // What `claude setup-token` prints has a variable of its own.
  if (key.startsWith("sk-ant-oat")) return { ...base, CLAUDE_CODE_OAUTH_TOKEN: key };
  return { ...base, ANTHROPIC_API_KEY: key };
}

/** What Claude Code asks a person at its first start, answered beforehand. The token stays a variable: no file holds it. */
function configFiles({ spec, gateway }: LaunchInput): Launch["files"] {
  const { modelKey } = gateway;
  const state = {
    hasCompletedOnboarding: true,
    // A key in the environment is asked about by its last characters.
    ...(modelKey === undefined
      ? {}
      : { customApiKeyResponses: { approved: [modelKey.slice(-20)], rejected: [] } }),
    projects: { [spec.zone.workspace]: { hasTrustDialogAccepted: true } },
  };
  const settings = {
    skipDangerousModePermissionPrompt: true,
    hooks: Object.fromEntries(
      HOOKS.map((name) => [name, [{ hooks: [hook(name)] }, ...waitFor(spec, name)]]),
    ),
  };
  const headers = { Authorization: `Bearer \${${TOKEN_VARIABLE}}` };
  // Its tools are offered as they are, not behind a search.
  const mcp = {
    mcpServers: {
      agentkube: { type: "http", url: `${gateway.url}/mcp`, headers, alwaysLoad: true },
    },
  };
  return [
    homeFile(".claude.json", state),
    homeFile(".claude/settings.json", settings),
    homeFile(".agentkube/mcp.json", mcp),
    homeFile(".agentkube/tools-listed.mjs", readFileSync(TOOLS_LISTED, "utf8")),
  ];
}

/** Interactive, its first request would come before its tools are connected; it waits for the hooks of its start. */
function waitFor({ agent, tools }: RunSpec, name: string): object[] {
  if (name !== "SessionStart" || agent.mode !== "supervised" || tools.length === 0) return [];
  const command = `${NODE_IN_ZONE} ${HOME}/.agentkube/tools-listed.mjs`;
  return [{ matcher: "startup|resume", hooks: [{ type: "command", command, timeout: 40 }] }];
}

function hook(name: string): object {
  const needle = name === "SessionStart" ? INTERRUPTED : null;
  return { type: "command", command: reportCommand(name, needle), timeout: 10 };
}

/** An entry of its own; a prompt or a file that quotes those words is none. */
function isInterruption(entry: unknown): boolean {
  if (!isObject(entry) || entry["type"] !== "user" || !isObject(entry["message"])) return false;
  const { content } = entry["message"];
  const [first]: unknown[] = Array.isArray(content) ? content : [];
  return (
    isObject(first) && first["type"] === "text" && textOf(first["text"]).startsWith(INTERRUPTED)
  );
}

/** `--output-format stream-json`: the last `result` line decides; a model that answers takes an earlier one back. */
function openClaudeJudge(): Judge {
  let refusals = 0;
  const isRefused = () => refusals >= REFUSALS_OF_A_KEY;
  return openStructuredJudge({
    cli: "Claude Code",
    read(line): LineResult | null {
      if (line["type"] === "assistant") {
        refusals = 0;
        return { kind: "more" };
      }
      if (line["subtype"] === "api_retry" && line["error_status"] === 401) {
        refusals += 1;
        const cause = "the model's service refuses the key (401)";
        return isRefused() ? { kind: "error", cause, loginLost: true } : null;
      }
      return line["type"] === "result" ? resultOf(line, isRefused()) : null;
    },
  });
}

function resultOf(line: Record<string, unknown>, keyRefused: boolean): LineResult {
  const subtype = textOf(line["subtype"]);
  if (line["is_error"] !== true && (subtype === "" || subtype === "success"))
    return { kind: "done" };
  const words = [subtype, textOf(line["terminal_reason"])].filter((word) => word !== "");
  const said = textOf(line["result"]);
  const cause = `${words.join(", ") || "is_error"}: ${keyRefused ? "the model's service refuses the key (401)" : said}`;
  return { kind: "error", cause, loginLost: keyRefused || isLoginLost(said) };
}
