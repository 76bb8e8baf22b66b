import { MAX_ASK_DETAIL, type AgentState } from "../../protocol/agentlet-link.ts";
import type { ScreenView } from "../terminal-state.ts";
import type {
  AskReading,
  DialogKeys,
  RowGap,
  RuleSet,
  ScreenRule,
  TailPattern,
  ToolReading,
} from "./screen-rule.ts";
import type { AskClaim } from "./signal.ts";
import { isInRange } from "./version-range.ts";

/** What a screen says, and the rule that said so. */
export interface ScreenMatch {
  rule: ScreenRule;
  state: AgentState;
  channel: "title" | "screen";
  ask?: AskClaim;
  /** how the dialog is answered as it stands; absent when no rule knows */
  keys?: DialogKeys;
}

/** More rows than this are not looked at: a terminal has at most 1,000. */
const MAX_ROWS = 1000;
/** Steps of one pattern at most, so that no screen can hold the agentlet up. */
const MAX_STEPS = 20_000;

/** The first rule of the set that the screen fulfils; null when none does. */
export function matchScreen(
  set: RuleSet,
  view: ScreenView,
  version: string | null,
): ScreenMatch | null {
  const rows = contentOf(view.rows);
  for (const rule of set.rules) {
    if (!isInRange(version, rule.versions)) continue;
    const matched = fulfils(rule, rows, view);
    if (matched === null) continue;
    const ask = rule.ask === undefined ? undefined : readAsk(rule.ask, matched, rows);
    const channel = rule.tail === undefined ? "title" : "screen";
    const keys = keysIn(rule, matched, ask, view);
    return {
      rule,
      state: rule.state,
      channel,
      ...(ask === undefined ? {} : { ask }),
      ...(keys === undefined ? {} : { keys }),
    };
  }
  return null;
}

/** The version that a screen shows; null when it shows none. */
export function versionOn(set: RuleSet, view: ScreenView): string | null {
  if (set.version === undefined) return null;
  for (const row of view.rows) {
    const version = set.version.exec(row)?.[1];
    if (version !== undefined) return version;
  }
  return null;
}

/** Rows that are not blank, without trailing blanks; a blank is a blank, breaking or not. */
function contentOf(rows: readonly string[]): string[] {
  return rows
    .slice(-MAX_ROWS)
    .map((row) => row.replaceAll("\u00a0", " ").trimEnd())
    .filter((row) => row !== "");
}

/** The rows that the rule matched; null when it does not hold. */
function fulfils(rule: ScreenRule, rows: string[], view: ScreenView): string[] | null {
  if (rule.title !== undefined && !rule.title.test(view.title)) return null;
  let matched: string[] = [];
  if (rule.tail !== undefined) {
    const start = tailStart(rule.tail, rows);
    if (start === null) return null;
    matched = rows.slice(start);
  }
  if (rule.cursorAtEnd === true && !isCursorAtEnd(view, Infinity)) return null;
  if (rule.cursorWithin !== undefined && !isCursorAtEnd(view, rule.cursorWithin)) return null;
  if (!areModesOf(rule, view)) return null;
  for (const { title, tail } of rule.not ?? []) {
    const isTitle = title === undefined || title.test(view.title);
    if (isTitle && (tail === undefined || tailStart(tail, rows) !== null)) return null;
  }
  return matched;
}

/** True when the terminal's modes are those that the rule wants, as far as they are known. */
function areModesOf({ readsLine, cursorHidden }: ScreenRule, view: ScreenView): boolean {
  if (view.cursorHidden !== undefined && (cursorHidden ?? view.cursorHidden) !== view.cursorHidden)
    return false;
  if (readsLine === undefined) return true;
  if (view.takesPaste === undefined) return typeof readsLine === "boolean";
  return view.takesPaste === (readsLine === true || readsLine === "surely");
}

/** True when the cursor stands on the last row with text, in its first columns; a text without a cursor is taken to be so. */
function isCursorAtEnd({ rows, cursor }: ScreenView, columns: number): boolean {
  if (cursor === null) return true;
  const last = rows.findLastIndex((row) => row.trim() !== "");
  return cursor.row === last && cursor.col > 0 && cursor.col <= columns;
}

/** The first row of the end of the screen that fulfils the pattern; null when none does. */
function tailStart(pattern: TailPattern, rows: string[]): number | null {
  let steps = 0;
  /** matches pattern[..part] upwards from row `at` */
  const climb = (part: number, at: number): number | null => {
    steps += 1;
    if (steps > MAX_STEPS) return null;
    const element = pattern[part];
    if (element === undefined) return at + 1;
    if (element instanceof RegExp) {
      const row = rows[at];
      return row !== undefined && element.test(row) ? climb(part - 1, at - 1) : null;
    }
    return climbGap(element, part, at);
  };
  const climbGap = (gap: RowGap, part: number, at: number): number | null => {
    const { most, without } =
      typeof gap === "number"
        ? { most: gap, without: null }
        : { most: gap.gap, without: gap.without };
    for (let taken = 0; taken <= most; taken++) {
      const found = climb(part - 1, at - taken);
      if (found !== null) return found;
      const row = rows[at - taken];
      if (row === undefined || without?.test(row) === true) return null;
    }
    return null;
  };
  return climb(pattern.length - 1, rows.length - 1);
}

/** The keys of a dialog as it stands on these rows; undefined when its answer cannot be told from them. */
function keysIn(
  { keys, ask }: ScreenRule,
  rows: string[],
  claim: AskClaim | undefined,
  view: ScreenView,
): DialogKeys | undefined {
  if (keys === undefined) return undefined;
  if (!("marked" in keys)) {
    const { allow, once, coloured, ...others } = keys;
    if (coloured === true && view.ground !== undefined) {
      const moves = movesFromColoured(claim?.options ?? [], view.rows, view.ground);
      // Whatever is marked, a refusal needs no mark.
      if (moves === null) return { deny: others.deny };
      const [first] = moves;
      const isAllowed = allow !== undefined && first !== undefined;
      return { ...others, option: moves, ...(isAllowed ? { allow: first } : {}) };
    }
    const isShown = once === undefined || rows.some((row) => once.test(row));
    return allow === undefined || !isShown ? others : { ...others, allow };
  }
  const options = claim?.options ?? [];
  const marked = rows
    .filter((row) => ask?.option?.test(row))
    .findIndex((row) => keys.marked.test(row));
  if (marked === -1) return undefined;
  const moves = options.map(
    (_, at) => (at < marked ? UP : DOWN).repeat(Math.abs(at - marked)) + "\r",
  );
  const [allow, deny] = [keys.allow, keys.deny].map(
    (key) => moves[options.findIndex((option) => option.key === key)],
  );
  if (deny === undefined) return undefined;
  return { ...(allow === undefined ? {} : { allow }), deny, option: moves };
}

/** The keys of each option in a row, from the one that stands out by its colour; null unless exactly one does. */
function movesFromColoured(
  options: AskClaim["options"],
  rows: readonly string[],
  ground: (row: number, col: number) => string,
): string[] | null {
  const row = rows.findLastIndex((text) => options.every(({ label }) => text.includes(label)));
  const columns = options.map(({ label }) => (rows[row] ?? "").indexOf(label));
  const [first = -1] = columns;
  // Of its blanks the nearest one is coloured with it.
  if (row === -1 || first < 2) return null;
  const plain = ground(row, first - 2);
  const marked = columns.flatMap((col, at) => (ground(row, col) === plain ? [] : [at]));
  const [from] = marked;
  if (from === undefined || marked.length > 1) return null;
  return options.map((_, at) => RIGHT.repeat((at - from + options.length) % options.length) + "\r");
}

const RIGHT = "\x1b[C";
const UP = "\x1b[A";
const DOWN = "\x1b[B";

/** Frames and markers of dialogs, which are no part of what is asked. */
const FRAME = /^[\s│┃┏┗╭╰╌─━┓┛╮╯]+|[\s│┃]+$/gu;

function readAsk(reading: AskReading, rows: string[], screen: string[]): AskClaim {
  let text = "";
  const options: AskClaim["options"] = [...(reading.options ?? [])];
  const detail: string[] = [];
  for (const row of rows) {
    const question = reading.text.exec(row)?.[1];
    const option = reading.option?.exec(row)?.groups;
    if (question !== undefined && text === "") text = question.trim();
    else if (option !== undefined)
      options.push({
        key: (option["key"] ?? "").slice(0, 64),
        label: (option["label"] ?? "").trim().slice(0, 1024),
      });
    else if (options.length === (reading.options ?? []).length) {
      const line = row.replace(FRAME, "");
      if (line !== "") detail.push(line);
    }
  }
  return {
    tool: reading.tool === undefined ? null : toolOf(reading.tool, rows, screen),
    text: text.slice(0, 4096),
    detail: detail.join("\n").slice(0, MAX_ASK_DETAIL),
    options: options.slice(0, 32),
  };
}

/** The tool that a dialog names beyond doubt; null when it names none. */
function toolOf({ says, alone }: ToolReading, rows: string[], screen: string[]): string | null {
  if (alone !== undefined && screen.filter((row) => alone.test(row)).length > 1) return null;
  const text = rows.join("\n");
  for (const { rows: pattern, name } of says) {
    const found = pattern.exec(text);
    if (found !== null) return name ?? found[1]?.slice(0, 256) ?? null;
  }
  return null;
}
