import timers from "node:timers/promises";

/**
 * Waits until `probe` gives something other than undefined and false, and gives that. Its errors count as "not yet"; the last
 * one is the cause of the failure, which names what was waited for. The limit is no measurement: it only keeps a broken test
 * from holding its file, on a machine that may be busy with others.
 */
export async function until<T>(
  what: string,
  probe: () => T | Promise<T>,
  limitMs = 30_000,
): Promise<Exclude<T, undefined | false>> {
  const end = performance.now() + limitMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value as Exclude<T, undefined | false>;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end)
      throw new Error(`Waited ${limitMs} ms in vain: ${what}`, { cause: last });
    await timers.setTimeout(10);
  }
}
