import * as z from "zod";

/** What everybody but its driver has to know of a runtime. */
export interface RuntimeFacts {
  /** found by this name on PATH, or in its image */
  readonly program: string;
  /** how a person gets it */
  readonly install: string;
  /** its image, as the operator's matrix names it; `AGENTKUBE_IMAGE_NAME` overrides it, and `images/versions.json` has its version */
  readonly image: string;
  /** the variable in which it finds its key with `agentToken.delivery: env` */
  readonly keyVariable: string;
}

/** One entry a runtime; the other is its driver's, in `src/agentlet/drivers/registry.ts`. Custom brings its own argv and image. */
const KNOWN = {
  ClaudeCode: {
    program: "claude",
    install: "npm install --global @anthropic-ai/claude-code",
    image: "claudecode",
    keyVariable: "ANTHROPIC_API_KEY",
  },
  Codex: {
    program: "codex",
    install: "npm install --global @openai/codex",
    image: "codex",
    keyVariable: "OPENAI_API_KEY",
  },
  OpenCode: {
    program: "opencode",
    install: "npm install --global opencode-ai",
    image: "opencode",
    keyVariable: "OPENCODE_API_KEY",
  },
  Aider: {
    program: "aider",
    install: "see https://aider.chat/docs/install.html",
    image: "aider",
    keyVariable: "OPENAI_API_KEY",
  },
  Cline: {
    program: "cline",
    install: "npm install --global cline",
    image: "cline",
    keyVariable: "ANTHROPIC_API_KEY",
  },
  Goose: {
    program: "goose",
    install: "npm install --global @aaif/goose",
    image: "goose",
    keyVariable: "OPENAI_API_KEY",
  },
  Cursor: {
    program: "cursor-agent",
    install: "see https://cursor.com/cli",
    image: "cursor",
    keyVariable: "CURSOR_API_KEY",
  },
} as const satisfies Record<string, RuntimeFacts>;

export type KnownRuntime = keyof typeof KNOWN;
export const knownRuntimes: Readonly<Record<KnownRuntime, RuntimeFacts>> = KNOWN;

const names = Object.keys(KNOWN) as KnownRuntime[];
export const Runtime = z.enum([...names, "Custom"]);
export type Runtime = z.infer<typeof Runtime>;

/** A Custom runtime has no variable of its own: its driver gives it those of its provider. */
export function keyVariableOf(runtime: Runtime): string {
  return runtime === "Custom" ? "AGENTKUBE_MODEL_KEY" : knownRuntimes[runtime].keyVariable;
}
