import * as z from "zod";

/** The model APIs that runs speak. */
export const ModelProvider = z.enum(["anthropic", "openai", "google"]);
export type ModelProvider = z.infer<typeof ModelProvider>;

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
  /**
   * the model API that it speaks when the Agent names none; `by key`: several, and the form of the key tells; `its own`: a service
   * of its vendor's and no other endpoint, so that its key cannot be brokered
   */
  readonly provider: ModelProvider | "by key" | "its own";
}

/** One entry a runtime; the other is its driver's, in `src/agentlet/drivers/registry.ts`. Custom brings its own argv and image. */
const KNOWN = {
  ClaudeCode: {
    program: "claude",
    install: "npm install --global @anthropic-ai/claude-code",
    image: "claudecode",
    keyVariable: "ANTHROPIC_API_KEY",
    provider: "anthropic",
  },
  Codex: {
    program: "codex",
    install: "npm install --global @openai/codex",
    image: "codex",
    keyVariable: "OPENAI_API_KEY",
    provider: "openai",
  },
  OpenCode: {
    program: "opencode",
    install: "npm install --global opencode-ai",
    image: "opencode",
    keyVariable: "OPENCODE_API_KEY",
    provider: "by key",
  },
  Aider: {
    program: "aider",
    install: "see https://aider.chat/docs/install.html",
    image: "aider",
    keyVariable: "OPENAI_API_KEY",
    provider: "by key",
  },
  Cline: {
    program: "cline",
    install: "npm install --global cline",
    image: "cline",
    keyVariable: "ANTHROPIC_API_KEY",
    provider: "by key",
  },
  Goose: {
    program: "goose",
    install: "npm install --global @aaif/goose",
    image: "goose",
    keyVariable: "OPENAI_API_KEY",
    provider: "by key",
  },
  Cursor: {
    program: "cursor-agent",
    install: "see https://cursor.com/cli",
    image: "cursor",
    keyVariable: "CURSOR_API_KEY",
    provider: "its own",
  },
} as const satisfies Record<string, RuntimeFacts>;

export type KnownRuntime = keyof typeof KNOWN;
export const knownRuntimes: Readonly<Record<KnownRuntime, RuntimeFacts>> = KNOWN;

const names = Object.keys(KNOWN) as KnownRuntime[];
export const Runtime = z.enum([...names, "Custom"]);
export type Runtime = z.infer<typeof Runtime>;

/** The model API that a runtime speaks whatever its key; null when it has none of its own. */
export function providerOf(runtime: Runtime): ModelProvider | null {
  const { data } = ModelProvider.safeParse(
    runtime === "Custom" ? null : knownRuntimes[runtime].provider,
  );
  return data ?? null;
}

/** True of a runtime that speaks to its vendor's service only. */
export function hasOwnService(runtime: Runtime): boolean {
  return runtime !== "Custom" && knownRuntimes[runtime].provider === "its own";
}

/** A Custom runtime has no variable of its own: its driver gives it those of its provider. */
export function keyVariableOf(runtime: Runtime): string {
  return runtime === "Custom" ? "AGENTKUBE_MODEL_KEY" : knownRuntimes[runtime].keyVariable;
}
