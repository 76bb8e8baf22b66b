import type { AgentState } from "../../protocol/agentlet-link.ts";
import type { ScreenView } from "../terminal-state.ts";
import type { Observation } from "./driver.ts";

interface Rule {
  name: string;
  state: AgentState;
  title?: RegExp;
  /** matched against the live region: the last rows that are not empty */
  screen?: RegExp;
}

/** Only these rows count: what lies above may be a quote of an older prompt. */
const LIVE_ROWS = 24;

/**
 * First match wins. A title alone does not tell idle from permission. No match is unknown, never idle.
 * Dialogs are looked for at the very end of the screen, where their key help stands.
 */
const RULES: Rule[] = [
  {
    name: "permission-dialog",
    state: "permission",
    screen: /Do you want to [^\n]*\?\n(?:[^\n]*\n)*?\s*❯ 1\. [^]*Esc to cancel[^\n]*$/,
  },
  {
    name: "question-dialog",
    state: "question",
    screen: /❯ \d\. [^]*Enter to select · ↑\/↓ to navigate · Esc to cancel\s*$/,
  },
  {
    name: "start-dialog",
    state: "blocked",
    screen: /❯ [^]*Enter to confirm · Esc to (?:cancel|exit)\s*$/,
  },
  { name: "title-spinner", state: "busy", title: /^[◐◑◒◓] / },
  { name: "footer-interrupt", state: "busy", screen: /esc to interrupt[^\n]*$/ },
  {
    name: "composer",
    state: "idle",
    title: /^✳ /,
    screen:
      /─{10}[^\n]*\n❯[^]*\n─{10}[^\n]*\n(?!.*esc to interrupt)[^\n]*(?:mode on|for shortcuts|shift\+tab to cycle|← for agents|Press Ctrl-C)[^]*$/,
  },
];

/** What a Claude Code screen says, by the rules above. */
export function observeClaudeCode(view: ScreenView): Observation | null {
  const live = view.rows
    .map((row) => row.trimEnd())
    .filter((row) => row !== "")
    .slice(-LIVE_ROWS)
    .join("\n");
  for (const rule of RULES) {
    if (rule.title !== undefined && !rule.title.test(view.title)) continue;
    if (rule.screen !== undefined && !rule.screen.test(live)) continue;
    return {
      state: rule.state,
      channel: rule.screen === undefined ? "title" : "screen",
      rule: rule.name,
    };
  }
  return null;
}
