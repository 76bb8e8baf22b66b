import type { AgentletEvent } from "../protocol/agentlet-link.ts";

export const EVENT_LIMITS = {
  /** what one run's events may take on the manager's disk: heartbeats of a month beside all that a CLI may claim */
  runBytes: 256 * 1024 * 1024,
};

/**
 * Bounds the events of one run, whoever speaks for its agentlet. Beyond the bound nothing is kept but how the run ended: its
 * program's end and its own, each once.
 */
export class EventBudget {
  #isCut = false;
  readonly #ends = new Set<string>();

  /** A write has failed: what it lost is sent again, and counts as new then. */
  forget(): void {
    this.#isCut = false;
    this.#ends.clear();
  }

  /** What to write for an event when the file has `taken` bytes: itself; for the first without room a word of it; null for a later one. */
  keep(event: AgentletEvent, taken: number): AgentletEvent | null {
    const { runBytes } = EVENT_LIMITS;
    if (!this.#isCut && taken + Buffer.byteLength(JSON.stringify(event)) <= runBytes) return event;
    if (isEnd(event) && !this.#ends.has(event.type)) {
      this.#ends.add(event.type);
      return event;
    }
    if (this.#isCut) return null;
    this.#isCut = true;
    // As a state, for the last one told would stand for the rest of the run, whatever is true by then.
    return {
      type: "state",
      time: new Date().toISOString(),
      state: "unknown",
      channel: "output",
      evidence: `the manager keeps no more of this run's events but its end: they take ${runBytes / 1024 / 1024} MiB; the recording goes on`,
      outputOffset: event.type === "state" ? event.outputOffset : 0,
    };
  }
}

function isEnd(event: AgentletEvent): boolean {
  return event.type === "ended" || (event.type === "state" && event.channel === "process");
}
