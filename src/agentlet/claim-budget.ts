import type { AgentletEvent } from "../protocol/agentlet-link.ts";

export const CLAIM_LIMITS = {
  /** what a CLI's claims may add to the events of its run: they lie on the manager's disk */
  runBytes: 64 * 1024 * 1024,
};

/** Bytes that an event takes because of what zone A claims; 0 for what we say ourselves: ends, acts, hands, heartbeats. */
export function claimBytesOf(event: AgentletEvent): number {
  const isClaim =
    event.type === "screen" || (event.type === "state" && event.channel !== "process");
  return isClaim ? Buffer.byteLength(JSON.stringify(event)) : 0;
}

/** Whoever is in zone A may claim anything for as long as the run lasts: this bounds what of it is told. */
export class ClaimBudget {
  #left: number;
  #isSpent = false;

  constructor(runBytes = CLAIM_LIMITS.runBytes) {
    this.#left = runBytes;
  }

  /** What to tell for an event: itself; nothing for a claim beyond the budget; for the first of these that there is no more. */
  tell(event: AgentletEvent): AgentletEvent[] {
    const bytes = claimBytesOf(event);
    if (bytes === 0) return [event];
    if (this.#isSpent) return [];
    this.#left -= bytes;
    if (this.#left >= 0) return [event];
    this.#isSpent = true;
    const { time } = event;
    const outputOffset = event.type === "state" ? event.outputOffset : 0;
    const evidence = "the CLI has claimed more than a run may; its states are not told any more";
    return [
      // What was told last would stand for the rest of the run, whatever is true by then.
      { type: "state", time, state: "unknown", channel: "output", evidence, outputOffset },
      {
        type: "notice",
        time,
        message: `The CLI's states and screens took ${CLAIM_LIMITS.runBytes / 1024 / 1024} MiB of this run's events, and no more of them are told; the recording goes on`,
      },
    ];
  }
}
