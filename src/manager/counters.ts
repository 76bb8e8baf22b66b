/** What this manager refused since it started. */
export interface Counters {
  badMessages: number;
  unauthorized: number;
  foreignOrigins: number;
}

export function createCounters(): Counters {
  return { badMessages: 0, unauthorized: 0, foreignOrigins: 0 };
}
