import type { AskReading, RuleSet } from "../screen-rule.ts";

/** An option of a dialog ends with its keys; the arrow before it marks the one that Enter takes. */
const KEY = String.raw`(?:enter|tab|shift\+tab|esc|[a-z])(?: or \w+)?`;
const OPTION = String.raw`^[ │]*(?:→ )?(?:\d+\. )?(?<label>\S.*?) \((?<key>${KEY})\)(?: \(enter\))?[ │]*$`;
/** The line to type in: a hint or what was typed follows the arrow. */
const COMPOSER = new RegExp(String.raw`^[ │]*→(?: |$)(?!.* \(${KEY}\)[ │]*$)`, "i");
/** Never in a dialog: the edge of a composer whose text may end like an option. */
const REASONS = { gap: 6, without: /^ *[▄▀]{8}/ };
/** What it is to type in while it waits for an answer. */
const ANSWER =
  /^[ │]*→ (?:Answer questions \(|Tell the agent what to do|Describe how to revise|Edit the image prompt)/;
const DECISION = /^[ │]*→ (?:Approve mode switch|Waiting for decision) \(y\/n/;
const STOP = /ctrl\+c to stop[ │]*$/;
const SPINNER = /^ *[⬡⬢⠀-⣿]+ +[A-Z]\w+/;
/** The edges of the composer, where the terminal shows any: half blocks, or a box. */
const UPPER = /^ *(?:▄{8}|[┌╭]─{8})/;
const LOWER = /^ *(?:▀{8}|[└╰]─{8})/;
const TYPED = { gap: 40, without: LOWER };
/** Below the composer: tasks, model, directory, help, commands, errors. */
const BELOW = { gap: 24, without: UPPER };
const PLACEHOLDER = /^ *→ (?:Plan, search|Add a follow-up)/;
/** The footer's last row. */
const DIRECTORY = /^ {2}[~/]\S*/;
const RULE = /^─{8}/;

const ASK: AskReading = {
  text: /^[ │]*(\S.*\?)[ │]*$/,
  option: new RegExp(OPTION, "i"),
};

/** Cursor's agent, from recorded screens of 2025 and 2026; not run here. */
export const cursorRules: RuleSet = {
  runtime: "Cursor",
  version: /^ *v(\d{4}\.\d{2}\.\d{2})/,
  restingUnknownIsBlocked: true,
  composer: /^[ │]*[→❯]/,
  quitKeys: "\x03\x03",
  interruptKeys: "\x03",
  rules: [
    {
      name: "permission-options",
      state: "permission",
      // An error or a spinner may follow, never a composer.
      tail: [/\?[ │]*$/, REASONS, / \(y\)(?: \(enter\))?[ │]*$/, { gap: 24, without: COMPOSER }],
      ask: ASK,
      keys: { allow: "y", deny: "\x1b" },
    },
    {
      name: "plan-options",
      state: "permission",
      tail: [/\?[ │]*$/, REASONS, / \(b\)[ │]*$/, { gap: 24, without: COMPOSER }],
      ask: ASK,
      keys: { allow: "b", deny: "\x1b" },
    },
    {
      name: "permission-line",
      state: "permission",
      tail: [/\? \[y\/n\]:?$/, { gap: 4, without: RULE }, RULE, /^❯$/],
      ask: { text: /^(.*\?) \[y\/n\]/ },
    },
    {
      name: "trust",
      state: "starting",
      tail: [/\[a\] Trust this workspace/, 1, /\[q\] Quit/, { gap: 8, without: COMPOSER }],
    },
    { name: "decision", state: "permission", tail: [DECISION, BELOW] },
    {
      name: "answer-typed",
      state: "question",
      tail: [ANSWER, BELOW],
      ask: { text: /^[ │]*→ (\S.*?)(?: {4}.*)?$/ },
    },
    {
      name: "farewell",
      state: "exited",
      tail: [/^To resume this session: (?:cursor-)?agent --resume=/, 1],
    },
    {
      name: "list-dialog",
      state: "blocked",
      tail: [/\b(?:Esc to (?:close|go back|cancel)|Enter to (?:select|confirm|save))\b/],
      not: [{ tail: [UPPER, COMPOSER, TYPED, LOWER, BELOW] }, { tail: [PLACEHOLDER, 12] }],
    },
    { name: "composer-stop", state: "busy", tail: [COMPOSER, TYPED, STOP, BELOW] },
    { name: "composer-with-stop", state: "busy", tail: [STOP, BELOW] },
    { name: "spinner", state: "busy", tail: [SPINNER, 1, UPPER, COMPOSER, TYPED, LOWER, BELOW] },
    { name: "spinner-unframed", state: "busy", tail: [SPINNER, 1, COMPOSER, 5] },
    { name: "spinner-alone", state: "busy", tail: [SPINNER, 1] },
    { name: "thinking-line", state: "busy", tail: [RULE, /\(esc to interrupt\)$/, RULE] },
    { name: "composer", state: "idle", tail: [UPPER, /^[ │]*→/, TYPED, LOWER, BELOW] },
    { name: "composer-unframed", state: "idle", tail: [PLACEHOLDER, 12] },
    { name: "composer-typed", state: "idle", tail: [COMPOSER, 4, /^ {2}\S/, DIRECTORY] },
    { name: "composer-rule", state: "idle", tail: [RULE, /^❯/] },
  ],
};
