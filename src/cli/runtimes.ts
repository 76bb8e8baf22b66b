import type { Runtime } from "../protocol/agent-manifest.ts";

/** The program of a runtime, and how a person gets it. */
export interface RuntimeProgram {
  readonly program: string;
  readonly install: string;
}

/** Every runtime that is found by name on PATH; Custom brings its own argv. */
export const runtimePrograms: Readonly<Record<Exclude<Runtime, "Custom">, RuntimeProgram>> = {
  ClaudeCode: { program: "claude", install: "npm install --global @anthropic-ai/claude-code" },
  Codex: { program: "codex", install: "npm install --global @openai/codex" },
  OpenCode: { program: "opencode", install: "npm install --global opencode-ai" },
  Aider: { program: "aider", install: "see https://aider.chat/docs/install.html" },
  Cline: { program: "cline", install: "npm install --global cline" },
  Goose: { program: "goose", install: "npm install --global @aaif/goose" },
  Cursor: { program: "cursor-agent", install: "see https://cursor.com/cli" },
};
