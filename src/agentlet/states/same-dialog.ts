import type { Ask } from "../../protocol/agentlet-link.ts";
import type { ScreenMatch } from "./match-screen.ts";
import type { AskClaim } from "./signal.ts";
import type { Standing } from "./state-judge.ts";

/** So much of a long line's beginning or end is enough: a dialog may cut it. */
const ENOUGH = 24;
/** Shorter texts are in too many dialogs to tell one. */
const LEAST = 2;
const MAX_PARTS = 200;

/** All that tells one dialog from another. */
export function looksOf({ rule, ask }: ScreenMatch): string {
  return JSON.stringify([rule.name, ask]);
}

/**
 * Whether a dialog may be the one of this ask. A screen's ask must be on it whole, one of a hook by a line of its command or one of its values: CLIs
 * draw them in their own words, wrapped and cut. Names of tools differ between the two, and are not compared. A dialog that says
 * something is not that of an ask that says nothing: the judge makes a new ask of it, with what it shows.
 */
export function isDialogOf(ask: Ask, channel: Standing["channel"], dialog: ScreenMatch): boolean {
  if (dialog.ask === undefined) return false;
  const { tool, text, detail } = dialog.ask;
  const shown = bare(`${tool ?? ""} ${text} ${detail}`);
  if (channel === "screen" || channel === "title")
    return shown.includes(bare(ask.text)) && shown.includes(bare(ask.detail));
  const parts = partsOf(ask.kind, ask);
  if (parts.length === 0) return saysNothing(ask.kind, dialog.ask);
  return parts.some(
    (part) => shown.includes(part.slice(0, ENOUGH)) || shown.includes(part.slice(-ENOUGH)),
  );
}

/** True for an ask that tells nothing by which its dialog could be known. */
export function saysNothing(kind: Ask["kind"], ask: AskClaim): boolean {
  return partsOf(kind, ask).length === 0;
}

/** What of an ask must be on its dialog, in part. */
function partsOf(kind: Ask["kind"], { text, detail }: AskClaim): string[] {
  const claims = kind === "question" ? [text] : valuesOf(detail);
  return claims
    .flatMap((claim) => claim.split("\n"))
    .map(bare)
    .filter((part) => part.length >= LEAST)
    .slice(0, MAX_PARTS);
}

/** Letters and digits only: frames, quotes and the breaks of lines are the dialog's. */
function bare(text: string): string {
  return text.toLowerCase().replaceAll(/[^\p{L}\p{N}]/gu, "");
}

/** A command as it is; of a tool's input its values, of a path also the name alone. */
function valuesOf(detail: string): string[] {
  if (!detail.startsWith("{")) return [detail];
  try {
    const values: string[] = [];
    JSON.parse(detail, (_key, value: unknown) => {
      if (typeof value === "number") values.push(String(value));
      if (typeof value !== "string") return value;
      values.push(value);
      if (value.includes("/") && !value.includes("\n")) values.push(value.split("/").at(-1) ?? "");
      return value;
    });
    return values;
  } catch {
    // Cut: what it says cannot be told from its form.
    return detail.split(/[{}[\]",:]+/);
  }
}
