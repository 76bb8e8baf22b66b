import type { Clock } from "./clock.ts";

/** What a CLI has said of itself lately, for heartbeats: claims, as all that it says. */
export interface Evidence {
  lastSignalMsAgo: number | null;
  /** since its transcript was seen to grow, or had a line that a driver asks for */
  lastTranscriptMsAgo: number | null;
  /** the tool that it says it is using */
  tool: { name: string; ageMs: number } | null;
}

/** What a report says of the CLI's tools: that it uses this one now, or none any more. */
export type ToolClaim = { began: string } | { ended: true };

const MAX_NAME = 256;

/** Keeps the last word of each channel. */
export class EvidenceLog {
  readonly #clock: Clock;
  #signalAtMs: number | null = null;
  #transcriptAtMs: number | null = null;
  #tool: { name: string; atMs: number } | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A report of zone A (a hook, an event, a line of a transcript), and what its driver reads in it of tools. */
  report({ channel }: { channel: string }, tool: ToolClaim | null): void {
    const now = this.#clock.now();
    this.#signalAtMs = now;
    if (channel === "transcript") this.#transcriptAtMs = now;
    if (tool === null) return;
    this.#tool =
      "ended" in tool ? null : { name: tool.began.slice(0, MAX_NAME) || "unknown", atMs: now };
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
