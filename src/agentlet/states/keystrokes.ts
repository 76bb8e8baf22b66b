import type { ScreenView } from "../terminal-state.ts";
import type { DialogKeys } from "./screen-rule.ts";
import type { AskClaim } from "./signal.ts";
import type { Choice } from "../../protocol/agentlet-link.ts";

/** A prompt as it may be typed, and how many characters were taken out of it. */
export interface CleanPrompt {
  text: string;
  removed: number;
}

/** Only tab and line feed of the controls: no escape, no C1, no end of a paste can be in it. */
// oxlint-disable-next-line no-control-regex -- control characters are what is removed
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** Takes out of a prompt what a terminal would take for keys or commands. */
export function cleanPrompt(prompt: string): CleanPrompt {
  const lines = prompt.replaceAll(/\r\n?/g, "\n");
  const clean = lines.replaceAll(CONTROLS, "");
  return { text: clean.replace(/\n+$/, ""), removed: lines.length - clean.length };
}

/** The bytes that put a prompt into the composer; null when this terminal would take its lines for several prompts. */
export function typingOf(text: string, takesPaste: boolean): Buffer | null {
  if (takesPaste) return Buffer.from(`\x1b[200~${text}\x1b[201~`);
  return text.includes("\n") ? null : Buffer.from(text);
}

/** What stands before the cursor, without the marks of a composer: what somebody has typed and not sent. */
export function unsentOn(view: ScreenView): string {
  if (view.cursor === null) return "";
  const row = view.rows[view.cursor.row] ?? "";
  const before = row.slice(0, view.cursor.col);
  // At the beginning of a further row: what was typed stands above, under the mark of the first one.
  if (view.cursor.col > 0 && before.trim() === "") return typedAbove(view.rows, view.cursor);
  return row
    .slice(0, view.cursor.col)
    .replace(/^\s*(?:[│┃|]\s*)?(?:[a-z][a-z -]{0,20}>|[❯›>→]|🪿|\( ?[Oo]\)>)?/u, "")
    .trim();
}

/** The first row of a composer whose further rows are indented to the cursor, or empty; nothing when it is none. */
function typedAbove(rows: readonly string[], cursor: { row: number; col: number }): string {
  const isFurther = (row: string) => row.slice(0, cursor.col).trim() === "";
  const first = rows.slice(0, cursor.row).findLast((row) => !isFurther(row)) ?? "";
  return /^[❯›] (.*)/.exec(first)?.[1]?.trim() ?? "";
}

/** True while the end of a prompt, or what stands for a long one, is where the cursor is. */
export function isInComposer(view: ScreenView, text: string): boolean {
  if (view.cursor === null) return false;
  const here = view.rows[view.cursor.row] ?? "";
  const above = view.rows[view.cursor.row - 1] ?? "";
  const end = text.trimEnd().split("\n").at(-1)?.trim().slice(-8) ?? "";
  return here.includes(end) || above.includes(end) || /\[?pasted/i.test(here);
}

/** The keys of a choice in a dialog; null when this dialog cannot be answered so. */
export function keysOf(choice: Choice, keys: DialogKeys, ask: AskClaim | undefined): string | null {
  switch (choice.kind) {
    case "allow":
      return keys.allow ?? null;
    case "deny":
      return keys.deny;
    case "option": {
      const at = ask?.options.findIndex(({ key }) => key === choice.key) ?? -1;
      if (at === -1 || keys.option === undefined) return null;
      if (keys.option === "key") return choice.key;
      return keys.option === "enter" ? `${choice.key}\r` : (keys.option[at] ?? null);
    }
  }
}
