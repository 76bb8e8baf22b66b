import type { Clock } from "./clock.ts";

/** What a CLI has said of itself lately, for heartbeats: claims, as all that it says. */
export interface Evidence {
  lastSignalMsAgo: number | null;
  /** since its transcript was seen to grow, or had a line that a driver asks for */
  lastTranscriptMsAgo: number | null;
  /** the tool that it says it is using */
  tool: { name: string; ageMs: number } | null;
}

/** Keeps the last word of each channel. */
export class EvidenceLog {
  readonly #clock: Clock;
  #signalAtMs: number | null = null;
  #transcriptAtMs: number | null = null;
  #tool: { name: string; atMs: number } | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A report of zone A: a hook, an event, a line of a transcript. */
  report({ channel, name, data }: { channel: string; name: string; data: unknown }): void {
    const now = this.#clock.now();
    this.#signalAtMs = now;
    if (channel === "transcript") this.#transcriptAtMs = now;
    if (name === "PreToolUse") this.#tool = { name: toolOf(data), atMs: now };
    else if (TOOL_ENDS.has(name)) this.#tool = null;
  }

  get now(): Evidence {
    const now = this.#clock.now();
    const since = (atMs: number | null) => (atMs === null ? null : Math.round(now - atMs));
    const tool = this.#tool;
    return {
      lastSignalMsAgo: since(this.#signalAtMs),
      lastTranscriptMsAgo: since(this.#transcriptAtMs),
      tool: tool === null ? null : { name: tool.name, ageMs: Math.round(now - tool.atMs) },
    };
  }
}

const TOOL_ENDS: ReadonlySet<string> = new Set([
  "PostToolUse",
  "PostToolUseFailure",
  "Stop",
  "UserPromptSubmit",
  "TaskComplete",
  "SessionShutdown",
]);

function toolOf(data: unknown): string {
  const fields = fieldsOf(data);
  // Cline has them one level down.
  const use = fieldsOf(fields["preToolUse"]);
  const name = fields["tool_name"] ?? use["toolName"] ?? use["tool"];
  return typeof name === "string" && name !== "" ? name.slice(0, 256) : "unknown";
}

function fieldsOf(data: unknown): Record<string, unknown> {
  return typeof data === "object" && data !== null ? (data as Record<string, unknown>) : {};
}
