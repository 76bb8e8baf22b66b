/** The known word nearest to `word`, in whatever case, when it is near enough to be what was meant. */
export function nearest(given: string, known: readonly string[]): string | undefined {
  const word = given.toLowerCase();
  const ranked = known
    .map((candidate) => ({ candidate, distance: distanceOf(word, candidate.toLowerCase()) }))
    .sort((left, right) => left.distance - right.distance);
  const best = ranked[0];
  if (best === undefined) return undefined;
  const begins = (candidate: string): boolean =>
    word.length >= 2 && candidate.toLowerCase().startsWith(word);
  const limit = Math.max(1, Math.floor(Math.max(word.length, best.candidate.length) / 3));
  if (best.distance <= limit || begins(best.candidate)) return best.candidate;
  return known.find(begins);
}

/** Edits (insert, delete, replace, swap of neighbours) between two short words. */
function distanceOf(left: string, right: string): number {
  const rows = left.length + 1;
  const columns = right.length + 1;
  const table = Array.from({ length: rows }, () => Array.from({ length: columns }, () => 0));
  const at = (row: number, column: number): number => table[row]?.[column] ?? 0;
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const line = table[row];
      if (line === undefined) continue;
      if (row === 0 || column === 0) {
        line[column] = row + column;
        continue;
      }
      const same = left[row - 1] === right[column - 1];
      let best = Math.min(
        at(row - 1, column) + 1,
        at(row, column - 1) + 1,
        at(row - 1, column - 1) + (same ? 0 : 1),
      );
      const swapped =
        row > 1 &&
        column > 1 &&
        left[row - 1] === right[column - 2] &&
        left[row - 2] === right[column - 1];
      if (swapped) best = Math.min(best, at(row - 2, column - 2) + 1);
      line[column] = best;
    }
  }
  return at(rows - 1, columns - 1);
}
