import type { AgentletEvent } from "../protocol/agentlet-link.ts";
import { claimBytesOf } from "./claim-budget.ts";

/** An event with its place in the run's sequence. */
export interface NumberedEvent {
  seq: number;
  event: AgentletEvent;
}

export const EVENT_LOG_LIMITS = { events: 4096, claimBytes: 4 * 1024 * 1024 };
/** With this many waiting nobody is listening, and heartbeats of the past are worth nothing. */
const HEARTBEATS_BELOW = 16;

/** Events that the manager does not have on disk yet. Bounded: at a bound the oldest claim of the CLI goes, then the oldest event. */
export class EventLog {
  #kept: { numbered: NumberedEvent; claimBytes: number }[] = [];
  #claimBytes = 0;
  #seq = 0;

  get size(): number {
    return this.#kept.length;
  }

  get events(): readonly NumberedEvent[] {
    return this.#kept.map(({ numbered }) => numbered);
  }

  /** Null for a heartbeat that nobody would read. */
  add(event: AgentletEvent): NumberedEvent | null {
    if (event.type === "heartbeat" && this.#kept.length >= HEARTBEATS_BELOW) return null;
    this.#seq += 1;
    const numbered = { seq: this.#seq, event };
    const claimBytes = claimBytesOf(event);
    this.#kept.push({ numbered, claimBytes });
    this.#claimBytes += claimBytes;
    while (
      this.#claimBytes > EVENT_LOG_LIMITS.claimBytes ||
      this.#kept.length > EVENT_LOG_LIMITS.events
    )
      this.#dropOldest();
    return numbered;
  }

  /** The manager has everything up to and with `seq`. */
  forget(seq: number): void {
    this.#kept = this.#kept.filter(({ numbered }) => numbered.seq > seq);
    this.#claimBytes = this.#kept.reduce((sum, { claimBytes }) => sum + claimBytes, 0);
  }

  #dropOldest(): void {
    const claim = this.#kept.findIndex(({ claimBytes }) => claimBytes > 0);
    const [dropped] = this.#kept.splice(Math.max(0, claim), 1);
    this.#claimBytes -= dropped?.claimBytes ?? 0;
  }
}
