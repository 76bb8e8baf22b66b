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

/** How much is enough; `atMost` where less is better. */
export type Goal = { atMost: number } | { atLeast: number };

/** What a row is measured against, in the same run and the same unit. */
export interface Peer {
  name: string;
  value: number;
}

/** A row whose ratio decides. */
export function ratioRow(row: string, value: number, unit: string, peer: Peer, goal: Goal): Row {
  return againstPeer(row, value, unit, peer, judge(value / peer.value, "×", goal));
}

/** A row whose own value decides, or nothing. The peer is there to tell the program from the machine. */
export function peerRow(
  row: string,
  value: number,
  unit: string,
  peer: Peer,
  goal: Goal | null,
): Row {
  return againstPeer(row, value, unit, peer, judge(value, unit, goal));
}

/** A row whose difference to its peer decides. */
export function differenceRow(
  row: string,
  value: number,
  unit: string,
  peer: Peer,
  atMost: number,
): Row {
  const more = value - peer.value;
  return againstPeer(row, value, unit, peer, {
    goal: `≤ ${atMost} ${unit} more, got ${round(more)}`,
    met: more <= atMost,
  });
}

/** A row whose own value decides, with nothing to divide by. */
export function valueRow(
  row: string,
  value: number,
  unit: string,
  against: string,
  goal: Goal | null,
): Row {
  return { row, value: round(value), unit, against, ratio: null, ...judge(value, unit, goal) };
}

function againstPeer(
  row: string,
  value: number,
  unit: string,
  peer: Peer,
  verdict: Pick<Row, "goal" | "met">,
): Row {
  return {
    row,
    value: round(value),
    unit,
    against: `${peer.name}: ${round(peer.value)} ${unit}`,
    ratio: round(value / peer.value),
    ...verdict,
  };
}

function judge(value: number, unit: string, goal: Goal | null): Pick<Row, "goal" | "met"> {
  if (goal === null) return { goal: "none", met: null };
  return "atMost" in goal
    ? { goal: `≤ ${goal.atMost} ${unit}`, met: value <= goal.atMost }
    : { goal: `≥ ${goal.atLeast} ${unit}`, met: value >= goal.atLeast };
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
