/** True when a dotted version lies in a range of space-separated bounds (`>=2.1 <3`). An unknown version lies in every range. */
export function isInRange(version: string | null, range: string | undefined): boolean {
  if (version === null || range === undefined) return true;
  return range.split(" ").every((bound) => {
    const match = /^(>=|<=|>|<|=)?(\d+(?:\.\d+)*)$/.exec(bound);
    if (match === null) throw new TypeError(`Expected a bound such as ">=1.2", got "${bound}"`);
    const order = compare(version, match[2] ?? "");
    switch (match[1] ?? "=") {
      case ">=":
        return order >= 0;
      case "<=":
        return order <= 0;
      case ">":
        return order > 0;
      case "<":
        return order < 0;
      default:
        return order === 0;
    }
  });
}

function compare(a: string, b: string): number {
  const left = a.split(".").map(Number);
  const right = b.split(".").map(Number);
  for (let at = 0; at < Math.max(left.length, right.length); at++) {
    const difference = (left[at] ?? 0) - (right[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
