import type { Runtime } from "./agent-manifest.ts";

/**
 * The variable in which a runtime finds its key with `agentToken.delivery: env`, as in the operator's matrix of images. A Custom
 * runtime has none of its own: its driver gives it the variables of its provider.
 */
export const TOKEN_VARIABLES: Readonly<Record<Runtime, string>> = {
  ClaudeCode: "ANTHROPIC_API_KEY",
  Codex: "OPENAI_API_KEY",
  OpenCode: "OPENCODE_API_KEY",
  Aider: "OPENAI_API_KEY",
  Cline: "ANTHROPIC_API_KEY",
  Goose: "OPENAI_API_KEY",
  Cursor: "CURSOR_API_KEY",
  Custom: "AGENTKUBE_MODEL_KEY",
};
