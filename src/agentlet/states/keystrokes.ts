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
