/** One measured line: what, how much, against what, and whether that is enough. */
export interface Row {
  row: string;
  value: number;
  unit: string;
  /** what it is measured against, in the same run, with its own number */
  against: string;
  /** value / against; null where there is nothing to divide by */
  ratio: number | null;
  goal: string;
  /** null: no goal, or it could not be measured here (the goal says why) */
  met: boolean | null;
}

/** A row whose ratio decides. `atMost`: the ratio is good when it is at most this; `atLeast`: when it is at least this. */
export function ratioRow(
  row: string,
  value: number,
  unit: string,
  against: { name: string; value: number },
  goal: { atMost: number } | { atLeast: number },
): Row {
  const ratio = value / against.value;
  const [word, met] =
    "atMost" in goal
      ? [`≤ ${goal.atMost} ×`, ratio <= goal.atMost]
      : [`≥ ${goal.atLeast} ×`, ratio >= goal.atLeast];
  return {
    row,
    value: round(value),
    unit,
    against: `${against.name}: ${round(against.value)} ${unit}`,
    ratio: round(ratio),
    goal: word,
    met,
  };
}

/** A row whose own value decides. */
export function valueRow(
  row: string,
  value: number,
  unit: string,
  against: string,
  goal: { atMost: number } | null,
): Row {
  return {
    row,
    value: round(value),
    unit,
    against,
    ratio: null,
    goal: goal === null ? "none" : `≤ ${goal.atMost} ${unit}`,
    met: goal === null ? null : value <= goal.atMost,
  };
}

/** What a row says that cannot be measured on this machine. */
export function missingRow(row: string, why: string): Row {
  return {
    row,
    value: 0,
    unit: "",
    against: "",
    ratio: null,
    goal: `not measured: ${why}`,
    met: null,
  };
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
