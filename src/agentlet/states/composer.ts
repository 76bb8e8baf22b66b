import type { ScreenView } from "../terminal-state.ts";
import type { RunStates } from "./run-states.ts";
import type { RuleSet } from "./screen-rule.ts";

export interface ComposerOptions {
  rules: RuleSet | null;
  states: RunStates;
  view: () => ScreenView;
}

/**
 * Where prompts are typed: whether it holds text that nobody has sent. The mark of a composer that is known is data of its rules. Of
 * any other program nothing on the screen tells its prompt (`λ `, `In [1]: `, `user@host:~$ `) from text: there, what stood before the
 * cursor when somebody began to type is the prompt, and what nobody has typed is none. Keys into a turn that runs are not looked at:
 * they are not for the composer.
 */
export class Composer implements Disposable {
  readonly #options: ComposerOptions;
  readonly #stop: () => void;
  /** what stood before the cursor when somebody began to type; null while nobody has */
  #prompt: string | null = null;

  constructor(options: ComposerOptions) {
    this.#options = options;
    this.#stop = options.states.onChange(() => this.sent());
  }

  /** Somebody is about to type. */
  typing(): void {
    if (this.#options.states.standing.state !== "idle") return;
    this.#prompt ??= beforeCursor(this.#options.view());
  }

  /** A person is about to type these keys. */
  personTypes(keys: Buffer): void {
    // Alt and Enter break a line.
    if (LEAVES.has(keys.at(-1) ?? 0) && keys.at(-2) !== 0x1b) this.sent();
    else this.typing();
  }

  /** What was typed is not there any more. */
  sent(): void {
    this.#prompt = null;
  }

  get holdsUnsent(): boolean {
    const { rules, view } = this.#options;
    const mark = rules?.composer;
    if (mark !== undefined) return unsentOn(view(), mark) !== "";
    return this.#prompt !== null && beforeCursor(view()) !== this.#prompt;
  }

  [Symbol.dispose](): void {
    this.#stop();
  }
}

/** Enter, and Ctrl-C, with which most programs give up a line. */
const LEAVES: ReadonlySet<number> = new Set([0x0d, 0x0a, 0x03]);

/** What stands before the cursor, without the mark of the composer: what somebody has typed and not sent. */
export function unsentOn(view: ScreenView, mark: RegExp): string {
  if (view.cursor === null) return "";
  const { row, col } = view.cursor;
  const before = beforeCursor(view);
  // At the beginning of a further row: what was typed stands above, under the mark of the first one.
  if (col > 0 && before.trim() === "") return typedAbove(view.rows.slice(0, row), col, mark);
  return before.replace(mark, "").trim();
}

/** The first row of a composer whose further rows are indented to the cursor, or empty; nothing when it is none. */
function typedAbove(rows: readonly string[], col: number, mark: RegExp): string {
  const isFurther = (row: string) => row.slice(0, col).trim() === "";
  const first = rows.findLast((row) => !isFurther(row)) ?? "";
  return mark.test(first) ? first.replace(mark, "").trim() : "";
}

function beforeCursor({ rows, cursor }: ScreenView): string {
  return cursor === null ? "" : (rows[cursor.row] ?? "").slice(0, cursor.col);
}
