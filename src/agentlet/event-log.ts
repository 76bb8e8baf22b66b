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

/** Events that went because of a bound, and that the manager may never have had. */
interface Dropped {
  count: number;
  from: string;
  to: string;
  lastSeq: number;
}

/** What goes first at a bound: claims, then what only tells that the run lives; what became of the run and of acts on it never before. */
function worthOf({ numbered: { event }, claimBytes }: Kept): number {
  if (claimBytes > 0) return 0;
  if (event.type === "ended" || event.type === "state") return 3;
  return event.type === "act" ? 2 : 1;
}

interface Kept {
  numbered: NumberedEvent;
  claimBytes: number;
}

/** Events that the manager does not have on disk yet. Bounded: at a bound the oldest claim of the CLI goes, then the oldest event that matters least. */
export class EventLog {
  #kept: Kept[] = [];
  #dropped: Dropped | null = null;
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

  /**
   * The manager says that it has everything up to and with `seq` that was sent to it; `isFirst`: it says so when a link begins. The notice of
   * what was dropped before it could be sent, once; null when nothing was.
   */
  lossUpTo(seq: number, isFirst: boolean): string | null {
    const dropped = this.#dropped;
    if (dropped === null || (!isFirst && seq < dropped.lastSeq)) return null;
    this.#dropped = null;
    // While a link stands all was sent before it was dropped; only a link that begins finds what was not.
    if (seq >= dropped.lastSeq) return null;
    const { count, from, to } = dropped;
    return `${count} events between ${from} and ${to} were dropped: the manager was away, and the agentlet keeps ${EVENT_LOG_LIMITS.claimBytes / 1024 / 1024} MiB of the CLI's claims and ${EVENT_LOG_LIMITS.events} events; the recording has what the terminal showed`;
  }

  #leastWorth(): number {
    const lowest = this.#claimBytes > 0 ? 0 : 1;
    let [at, least] = [0, Infinity];
    for (const [index, kept] of this.#kept.entries()) {
      const worth = worthOf(kept);
      if (worth < least) [at, least] = [index, worth];
      if (least <= lowest) break;
    }
    return at;
  }

  #dropOldest(): void {
    const [dropped] = this.#kept.splice(this.#leastWorth(), 1);
    if (dropped === undefined) return;
    this.#claimBytes -= dropped.claimBytes;
    const { seq, event } = dropped.numbered;
    this.#dropped = {
      count: (this.#dropped?.count ?? 0) + 1,
      from: this.#dropped?.from ?? event.time,
      to: event.time,
      lastSeq: Math.max(this.#dropped?.lastSeq ?? 0, seq),
    };
  }
}
