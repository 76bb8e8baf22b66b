import type { RunSpec } from "../../protocol/run-spec.ts";
import { claudeCodeRules } from "../states/rules/claude-code.ts";
import { openClaudeCodeJudge } from "./claude-code-judge.ts";
import { GOAL_FILE, HOME, goalFiles, isInlineGoal } from "./driver.ts";
import type { Driver, Gateway, Launch } from "./driver.ts";

const MCP_FILE = `${HOME}/.agentkube/mcp.json`;

/** Claude Code, brokered: model and tools through the gateway, no dialog before its first turn. Measured with 2.1.329. */
export const claudeCode: Driver = {
  prepare(spec, gateway) {
    return {
      argv: argvOf(spec),
      env: {
        ...modelEnv(spec, gateway),
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
        DISABLE_AUTOUPDATER: "1",
      },
      files: [...goalFiles(spec), ...configFiles(spec, gateway)],
    };
  },
  rules: claudeCodeRules,
  openJudge: (spec) => (spec.agent.mode === "system" ? openClaudeCodeJudge() : null),
};

/** Brokered: the gateway, which takes the agent's token. With a delivered key: the provider itself, or the endpoint that is named. */
function modelEnv(spec: RunSpec, gateway: Gateway): Record<string, string> {
  if (gateway.modelKey === undefined)
    return {
      ANTHROPIC_BASE_URL: `${gateway.url}/model/anthropic`,
      ANTHROPIC_AUTH_TOKEN: gateway.agentToken,
    };
  const endpoint =
    spec.modelEndpoint === null ? {} : { ANTHROPIC_BASE_URL: spec.modelEndpoint.url };
  return { ANTHROPIC_API_KEY: gateway.modelKey, ...endpoint };
}

function argvOf(spec: RunSpec): string[] {
  const { agent } = spec;
  const oneShot = agent.mode === "system";
  const argv = [...agent.argv];
  if (oneShot) argv.push("-p", "--output-format", "stream-json", "--verbose");
  if (agent.model?.name !== undefined) argv.push("--model", agent.model.name);
  // A person watches a supervised run and answers; nobody answers a one-shot run, and zone A is its sandbox.
  argv.push("--permission-mode", oneShot ? "bypassPermissions" : "acceptEdits");
  argv.push("--mcp-config", MCP_FILE, "--strict-mcp-config", "--allowedTools", "mcp__agentkube");
  // --allowedTools takes many values: the prompt must not become one of them.
  if (agent.goal !== null) argv.push("--", promptOf(agent.goal));
  return argv;
}

function promptOf(goal: string): string {
  return isInlineGoal(goal) ? goal : `Read the file ${GOAL_FILE} and do what it says.`;
}

/** What Claude Code asks a person at its first start, answered beforehand. The token stays a variable: no file holds it. */
function configFiles(spec: RunSpec, gateway: Gateway): Launch["files"] {
  const state = {
    hasCompletedOnboarding: true,
    projects: { [spec.zone.workspace]: { hasTrustDialogAccepted: true } },
  };
  const settings = { skipDangerousModePermissionPrompt: true };
  const headers = { Authorization: "Bearer ${AGENTKUBE_AGENT_TOKEN}" };
  const mcp = { mcpServers: { agentkube: { type: "http", url: `${gateway.url}/mcp`, headers } } };
  return [
    [`${HOME}/.claude.json`, state] as const,
    [`${HOME}/.claude/settings.json`, settings] as const,
    [MCP_FILE, mcp] as const,
  ].map(([path, value]) => ({ path, data: Buffer.from(JSON.stringify(value)), mode: 0o600 }));
}
