/** What this manager refused, or put off, since it started. */
export interface Counters {
  badMessages: number;
  unauthorized: number;
  foreignOrigins: number;
  /** recorders that were told to come back later */
  deferred: number;
}

export function createCounters(): Counters {
  return { badMessages: 0, unauthorized: 0, foreignOrigins: 0, deferred: 0 };
}
