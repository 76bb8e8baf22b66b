import { goalFiles, homeFile, isAskedForAll, promptOf, withGoalOnStdin } from "./driver.ts";
import type { Driver, LaunchInput } from "./driver.ts";
import { hookSignal, sessionOfHook, toolOfHook } from "./hook-claims.ts";
import { reportCommand } from "./hooks.ts";
import { modelAccessOf, TOKEN_VARIABLE } from "./model-access.ts";
import { isLoginLost, isObject, openStructuredJudge, textOf } from "./structured-judge.ts";
import type { LineResult } from "./structured-judge.ts";
import { codexRules } from "../states/rules/codex.ts";

const HOOKS = [
  "SessionStart",
  "UserPromptSubmit",
  "PreToolUse",
  "PermissionRequest",
  "PostToolUse",
  "Stop",
];
/** How the rollout file says what no hook does: that a person ended the turn. */
const INTERRUPTED = '"turn_aborted"';
const KEY_VARIABLE = "OPENAI_API_KEY";
const NO_DAEMON = "--no-daemon";

/** Codex: model through the gateway as a provider of its own, no login, no daemon outside the process tree. Measured with 0.155.0 and 0.169.0. */
export const codex: Driver = {
  prepare(input) {
    const { spec, gateway } = input;
    return {
      argv: argvOf(input),
      env: gateway.modelKey === undefined ? {} : { [KEY_VARIABLE]: gateway.modelKey },
      files: [...goalFiles(spec), homeFile(".codex/config.toml", configOf(input))],
    };
  },
  rules: codexRules,
  openJudge: (spec) =>
    spec.agent.mode === "system" ? openStructuredJudge({ cli: "Codex", read: resultOf }) : null,
  signalOf(report) {
    if (report.channel !== "transcript") return hookSignal(report);
    const { data } = report;
    const payload = isObject(data) && data["type"] === "event_msg" ? data["payload"] : null;
    if (!isObject(payload) || payload["type"] !== "turn_aborted") return null;
    return { channel: "transcript", state: "idle", evidence: "turn_aborted", endsTurn: true };
  },
  toolOf: toolOfHook,
  sessionOf: sessionOfHook,
  session: {
    files: (id) => [`.codex/sessions/*/*/*/rollout-*-${id}.jsonl`],
    modes: ["supervised", "system"],
  },
};

function argvOf({ spec, resume }: LaunchInput): string[] {
  const { argv, goal, mode } = spec.agent;
  // Without this its hooks are skipped in silence: they are ours.
  const trust = "--dangerously-bypass-hook-trust";
  if (mode === "supervised") {
    const session = resume === null ? [] : ["resume", resume];
    const prompt = goal === null ? [] : ["--", promptOf(goal)];
    return [...withoutDaemon(argv), trust, ...session, ...prompt];
  }
  // Nobody answers a one-shot run, and zone A is its sandbox.
  const open = ["--dangerously-bypass-approvals-and-sandbox", trust, "--skip-git-repo-check"];
  const session = resume === null ? [] : ["resume"];
  const words = [
    ...argv,
    "exec",
    ...session,
    "--json",
    ...open,
    ...(resume === null ? [] : [resume]),
  ];
  // It reads its standard input to the end: the goal is there, never the terminal.
  return goal === null ? words : withGoalOnStdin([...words, "-"]);
}

/**
 * The argv that starts Codex in this process, whatever its version: newer ones leave a server behind unless they are told, and
 * older ones refuse the word for it.
 */
function withoutDaemon(argv: readonly string[]): string[] {
  const codex = argv.map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`).join(" ");
  const script = `case "$(${codex} --help 2>&1)" in *${NO_DAEMON}*) set -- ${NO_DAEMON} "$@" ;; esac; exec ${codex} "$@"`;
  return ["/bin/sh", "-c", script, "codex"];
}

function configOf(input: LaunchInput): string {
  const { spec, gateway } = input;
  const { name, baseUrl, brokered } = modelAccessOf(input);
  // What its sandbox allows is done without asking, patches too; a policy is to be asked about all that writes.
  const sandbox = isAskedForAll(spec.agent) ? "read-only" : "workspace-write";
  const hooks = HOOKS.flatMap((hook) => {
    const command = reportCommand(hook, hook === "UserPromptSubmit" ? INTERRUPTED : null);
    return [
      `[[hooks.${hook}]]`,
      `[[hooks.${hook}.hooks]]`,
      'type = "command"',
      `command = ${toml(command)}`,
      "timeout = 10",
    ];
  });
  return [
    "check_for_update_on_startup = false",
    ...(name === null ? [] : [`model = ${toml(name)}`]),
    'model_provider = "agentkube"',
    ...(spec.agent.mode === "supervised"
      ? ['approval_policy = "on-request"', `sandbox_mode = "${sandbox}"`]
      : []),
    "[model_providers.agentkube]",
    'name = "agentkube"',
    `base_url = ${toml(`${baseUrl ?? "https://api.openai.com"}/v1`)}`,
    `env_key = ${toml(brokered ? TOKEN_VARIABLE : KEY_VARIABLE)}`,
    'wire_api = "responses"',
    `[projects.${toml(spec.zone.workspace)}]`,
    'trust_level = "trusted"',
    "[analytics]",
    "enabled = false",
    "[tui]",
    "notifications = true",
    'notification_method = "osc9"',
    'notification_condition = "always"',
    // The tools' programs on PATH need the run's token; the model key is nobody's but Codex's.
    "[shell_environment_policy]",
    "ignore_default_excludes = true",
    `exclude = [${toml(KEY_VARIABLE)}]`,
    "[mcp_servers.agentkube]",
    `url = ${toml(`${gateway.url}/mcp`)}`,
    `bearer_token_env_var = ${toml(TOKEN_VARIABLE)}`,
    // Else its first request goes out while the tools are still being connected, and lacks them.
    "required = true",
    "startup_timeout_sec = 30",
    'default_tools_approval_mode = "approve"',
    ...hooks,
    "",
  ].join("\n");
}

/** A TOML basic string. JSON's escapes are TOML's; DEL is the one character that only JSON takes as it is. */
function toml(text: string): string {
  return JSON.stringify(text).replaceAll("\x7f", String.raw`\u007f`);
}

/** `exec --json`: the last turn's end. An item of type "error" is a warning. */
function resultOf(line: Record<string, unknown>): LineResult | null {
  switch (line["type"]) {
    case "turn.started":
      return { kind: "more" };
    case "turn.completed":
      return { kind: "done" };
    case "turn.failed": {
      const cause = textOf(line["error"]);
      return { kind: "error", cause, loginLost: isLoginLost(cause) };
    }
    default:
      return null;
  }
}
