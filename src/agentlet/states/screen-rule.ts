import type { AgentState } from "../../protocol/agentlet-link.ts";

/** Up to `gap` rows of anything; with `without`, none of them may match it. A bare number is the same without exception. */
export type RowGap = number | { gap: number; without: RegExp };

/**
 * Rows from top to bottom that must be the end of the screen: the last pattern matches the last row that is not blank,
 * blank rows do not count, trailing blanks of a row are cut. What was quoted further up is never reached.
 */
export type TailPattern = readonly (RegExp | RowGap)[];

/** Between two keys of one act: closer ones may be read as one key. */
export const KEY_GAP_MS = 150;

/**
 * How a dialog names its tool, as the CLI itself calls it. A command, a path or an argument that the dialog quotes must not be able
 * to name another tool than its own, so it is read only where nothing quoted can stand; a dialog that cannot be read so names none.
 */
export interface ToolReading {
  /** of the rows that the rule matched, joined by line feeds, the first that fits tells: `name`, else its group 1 */
  says: readonly { rows: RegExp; name?: string }[];
  /** a second row of the screen that fits this may be a quoted one, and the dialog then names no tool */
  alone?: RegExp;
}

/** How an ask is read off the rows that its rule matched. */
export interface AskReading {
  /** the row with the question; group 1 is its text */
  text: RegExp;
  /** without it the dialog names no tool, and a policy by tool asks a person */
  tool?: ToolReading;
  /** an option; groups `key` and `label` */
  option?: RegExp;
  /** options that the CLI does not number */
  options?: readonly { key: string; label: string }[];
}

/** The keys that answer a dialog. Written to the terminal as they are. */
export interface DialogKeys {
  allow?: string;
  /** the row of the option that `allow` takes, a yes to this once; a dialog that does not show it has no `allow` */
  once?: RegExp;
  deny: string;
  /** `key`: typing an option's key chooses it; `enter`: its key, then Enter; an array: the keys of each option in order */
  option?: "key" | "enter" | readonly string[];
  /**
   * the options of the ask stand in one row, and only its colour tells the one that Enter takes: `\x1b[C` moves on from it, around the
   * end. `allow` takes the first. Not asked of a plain text: the first is then taken to be marked
   */
  coloured?: true;
}

/** A list in which arrows move a mark and Enter takes the marked option. */
export interface MarkedKeys {
  /** the option that is marked */
  marked: RegExp;
  /** keys of the options that say yes to this once, and no */
  allow: string;
  deny: string;
}

/** One thing a screen can say. First match of a set wins. Holds no code: patterns, names and keys only. */
export interface ScreenRule {
  name: string;
  state: AgentState;
  /** versions of the CLI that this rule was seen with, as "<2", ">=1.2 <1.19"; any version unless given */
  versions?: string;
  title?: RegExp;
  tail?: TailPattern;
  /** any of these takes the match back */
  not?: readonly { title?: RegExp; tail?: TailPattern }[];
  /** the cursor stands behind the last row's text, where a prompt waits for input; not asked of a plain text */
  cursorAtEnd?: true;
  /** the cursor stands on the last row with text, at most so many columns in: where a hint stands behind a prompt, never what was printed */
  cursorWithin?: number;
  /**
   * the program reads a line of input (it has asked for marked pastes), or does not: what it prints can imitate anything but that.
   * Not asked of a plain text, unless `"surely"`.
   */
  readsLine?: boolean | "surely" | "surely not";
  /** the cursor is hidden, or shown; not asked of a plain text */
  cursorHidden?: boolean;
  ask?: AskReading;
  keys?: DialogKeys | MarkedKeys;
  /** the screen says that the turn was broken off: believed over a hook that stays silent */
  endsTurn?: true;
}

/** All that is known of one CLI's screens. */
export interface RuleSet {
  runtime: string;
  /** reads the CLI's version off a screen; group 1 */
  version?: RegExp;
  /** a screen that rests and that no rule knows is a dialog that nobody can answer; false for programs that are not agents */
  restingUnknownIsBlocked: boolean;
  /** what stands before the cursor in the first row of a composer that is empty; absent when nobody knows */
  composer?: RegExp;
  /** how long after a prompt's text Enter is pressed, in ms; 100 unless given */
  enterAfterMs?: number;
  /** keys that break off a turn, pressed `KEY_GAP_MS` apart; Esc unless given */
  interruptKeys?: string;
  /** keys that make an idle CLI leave; without them it gets Ctrl-C whatever it does */
  quitKeys?: string;
  rules: readonly ScreenRule[];
}
