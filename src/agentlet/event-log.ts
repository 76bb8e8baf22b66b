import type { AgentletEvent } from "../protocol/agentlet-link.ts";

/** An event with its place in the run's sequence. */
export interface NumberedEvent {
  seq: number;
  event: AgentletEvent;
}

const MAX_EVENTS = 4096;
/** With this many waiting nobody is listening, and heartbeats of the past are worth nothing. */
const HEARTBEATS_BELOW = 16;

/** Events that the manager does not have on disk yet. Bounded: at the bound the oldest goes. */
export class EventLog {
  #events: NumberedEvent[] = [];
  #seq = 0;

  get size(): number {
    return this.#events.length;
  }

  get events(): readonly NumberedEvent[] {
    return this.#events;
  }

  /** Null for a heartbeat that nobody would read. */
  add(event: AgentletEvent): NumberedEvent | null {
    if (event.type === "heartbeat" && this.#events.length >= HEARTBEATS_BELOW) return null;
    this.#seq += 1;
    const numbered = { seq: this.#seq, event };
    this.#events.push(numbered);
    if (this.#events.length > MAX_EVENTS) this.#events.shift();
    return numbered;
  }

  /** The manager has everything up to and with `seq`. */
  forget(seq: number): void {
    this.#events = this.#events.filter((numbered) => numbered.seq > seq);
  }
}
