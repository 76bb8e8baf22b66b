/** Milliseconds of each of `count` turns of `work`, after two that do not count. One after the other. */
export async function timesOf(count: number, work: () => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  for (let turn = -2; turn < count; turn++) {
    const started = performance.now();
    await work();
    if (turn >= 0) times.push(performance.now() - started);
  }
  return times;
}

/** What is measured, and what sets it up before each of its turns. */
export interface Work {
  before?: () => Promise<unknown>;
  work: () => Promise<unknown>;
}

/**
 * Measures several works in turns, so that a machine that is slow for a while is slow for all of them. Returns the times of each.
 */
export async function inTurns<K extends string>(
  count: number,
  works: Record<K, Work>,
): Promise<Record<K, number[]>> {
  const names = Object.keys(works) as K[];
  const times = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<
    K,
    number[]
  >;
  const rounds = 4;
  for (let round = 0; round < rounds; round++)
    for (const name of names) {
      const { before, work } = works[name];
      await before?.();
      times[name].push(...(await timesOf(Math.ceil(count / rounds), work)));
    }
  return times;
}

/** The same for works that need nothing before. */
export async function sideBySide<K extends string>(
  count: number,
  works: Record<K, () => Promise<unknown>>,
): Promise<Record<K, number[]>> {
  const each = Object.entries(works) as [K, Work["work"]][];
  return await inTurns(
    count,
    Object.fromEntries(each.map(([name, work]) => [name, { work }])) as Record<K, Work>,
  );
}

/** The value below which `share` (0 to 1) of the numbers lie. */
export function quantile(numbers: number[], share: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function median(numbers: number[]): number {
  return quantile(numbers, 0.5);
}
