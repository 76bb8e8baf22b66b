import timers from "node:timers/promises";

/** Waits for a condition that something else makes true; fails with its name when it does not come. */
export async function until(
  what: string,
  condition: () => boolean,
  limitMs = 10_000,
): Promise<void> {
  const end = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`Waited ${limitMs} ms in vain: ${what}`);
    await timers.setTimeout(5);
  }
}
