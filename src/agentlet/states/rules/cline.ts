import type { RuleSet } from "../screen-rule.ts";

const LINE = /^ *─{8}/;
const COMPOSER = /^ *❯/;
const TYPED = { gap: 60, without: LINE };
const FOOTER = /^ *Auto-approve all (?:disabled|enabled)|^ *.*[○●] Plan [○●] Act/;
/** Below the composer: its footer, or what completes a command or a name. */
const BELOW = { gap: 14, without: COMPOSER };
/** In the first column of what is said; a quote of it is indented. */
const SPINNER = /^ [⠁-⣿] \S/;

const DIALOG = /^(?: {9,}|─+ ).*(?:\bEsc (?:to )?(?:close|go back|cancel)\b|Press any key to \w)/;

/** The box of 2.18, and what stands below it. */
const OLDER_COMPOSER = [
  /^╭─{8}/,
  { gap: 12, without: /^╰/ },
  /^╰─{8}/,
  1,
  /[○●] Plan [○●] Act/,
  3,
] as const;

/** Cline 3.0 (measured with 3.0.65), and 2.18 as far as it was seen: its start, its work, its failures. Its title is the last prompt, no sign of its state. */
export const clineRules: RuleSet = {
  runtime: "Cline",
  version: /^ *Cline v(\d+\.\d+\.\d+)/,
  restingUnknownIsBlocked: true,
  composer: /^ *❯/,
  quitKeys: "\x03",
  enterAfterMs: 250,
  rules: [
    {
      name: "permission-dialog",
      state: "permission",
      tail: [
        /^ *Cline needs permission$/,
        60,
        /^ *\[y\] Approve +\[n\] Deny/,
        { gap: 4, without: COMPOSER },
      ],
      ask: {
        text: /^ *(Approve tool call\?|\S.*\?)$/,
        // What is asked about stands below, indented as this is.
        tool: {
          says: [{ rows: /^ *Cline needs permission\n Approve tool call\?\n ([\w.-]+)\n/ }],
          alone: /^ *Approve tool call\?$/,
        },
        options: [
          { key: "y", label: "Approve" },
          { key: "n", label: "Deny" },
        ],
      },
      keys: { allow: "y", deny: "n", option: "key" },
    },
    {
      name: "question-dialog",
      state: "question",
      tail: [/^ *Cline is asking a question$/, { gap: 40, without: COMPOSER }, FOOTER, 1],
      ask: {
        text: /^ *(\S.*\?)$/,
        option: /^ {2}[> ] (?<key>(?<label>\S.*))$/,
      },
      keys: { deny: "\x1b" },
    },
    {
      name: "farewell",
      state: "exited",
      tail: [/^Session Summary$/, 8, /^ *Continue +cline --id /, 2],
    },
    {
      name: "spinner",
      state: "busy",
      tail: [SPINNER, { gap: 200, without: /^ [*❯] / }, LINE, COMPOSER, TYPED, LINE, BELOW],
    },
    {
      name: "thinking",
      state: "busy",
      tail: [/^ [⠁-⣿] .*\(esc to cancel\)$/, { gap: 6, without: COMPOSER }, FOOTER, 1],
    },
    {
      name: "dialog",
      state: "blocked",
      // It is drawn in the middle, over the composer: what is said stands in the first columns.
      tail: [DIALOG, 8],
    },
    { name: "composer", state: "idle", tail: [LINE, COMPOSER, TYPED, LINE, 3, FOOTER, 1] },
    {
      name: "composer-menu",
      state: "idle",
      // A terminal that is low cuts it off.
      tail: [LINE, COMPOSER, TYPED, LINE, /^ *╭─/, BELOW],
    },
    {
      name: "older-spinner",
      state: "busy",
      versions: "<3",
      tail: [/^ [⠁-⣿] \S.*\besc to interrupt\)$/, { gap: 6, without: /^╭/ }, ...OLDER_COMPOSER],
    },
    {
      name: "older-approval",
      state: "permission",
      versions: "<3",
      tail: [/^ {4,}\S.* \(1\) {3,}Reject \(2\)/, ...OLDER_COMPOSER],
    },
    {
      name: "older-buttons",
      state: "blocked",
      versions: "<3",
      tail: [/^ {4,}(?!Start New Task)\S.* \(1\) {3,}\S.* \(2\)/, ...OLDER_COMPOSER],
    },
    { name: "older-composer", state: "idle", versions: "<3", tail: OLDER_COMPOSER },
    { name: "overlay", state: "blocked", tail: [/^ *Esc(?:\/Enter)? to close\b/i, 2] },
  ],
};
