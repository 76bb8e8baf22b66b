import type { RuleSet } from "../screen-rule.ts";

/** The line that waits for input; what a person has typed stands behind the goose. */
const READY = /^🪿 ?(?:$|Enter to send\b|Interrupted, what should goose work on)/u;
/**
 * Its screen is all there is of Goose, and what the model says stands on it from the first column: only the cursor and the modes of
 * the terminal tell them apart. It marks pastes while it reads a line, and hides the cursor while a dialog stands.
 */
const AT_PROMPT = 4;
const OLD_PROMPT = /^\( ?[Oo]\)> ?$/;
const PROMPT = /^(?:🪿|\( ?[Oo]\)>)/u;
/** Between its greeting and its first prompt. */
const STARTED = [{ tail: [/goose is ready/] }, { tail: [/goose is ready/, /^ *╌/] }] as const;
/** A narrow terminal breaks it. */
const ASKS = /^◆ +(Goose would like to call\b.*|.*do you allow\?)/;
const KEYS = { marked: /^│ +● /, allow: "Allow", deny: "Deny" };
const DIALOG = { readsLine: false, cursorHidden: true };

/** Goose 1.34 (measured), line by line on the main screen; and the `( O)>` prompt before it. */
export const gooseRules: RuleSet = {
  runtime: "Goose",
  version: /^ *goose v?(\d+\.\d+\.\d+)/,
  restingUnknownIsBlocked: true,
  composer: /^(?:🪿|\( ?[Oo]\)>)/u,
  quitKeys: "/exit\r",
  enterAfterMs: 200,
  interruptKeys: "\x03",
  rules: [
    {
      name: "permission-dialog",
      state: "permission",
      ...DIALOG,
      tail: [/^ *▸ /, { gap: 60, without: /^(?:◆|🪿)/u }, ASKS, 1, /^│ +[●○] /, 8, /^└/],
      ask: {
        text: ASKS,
        option: /^│ +[●○] (?<key>(?<label>Always Allow|Allow|Deny|Cancel)).*$/,
      },
      keys: KEYS,
    },
    {
      name: "permission-dialog-alone",
      state: "permission",
      ...DIALOG,
      tail: [ASKS, 1, /^│ +[●○] /, 8, /^└/],
      ask: {
        text: ASKS,
        option: /^│ +[●○] (?<key>(?<label>Always Allow|Allow|Deny|Cancel)).*$/,
      },
      keys: KEYS,
    },
    {
      name: "start-dialog",
      state: "starting",
      ...DIALOG,
      tail: [/^◆ +Share anonymous usage data/, 4, /^└/],
    },
    { name: "list-dialog", state: "blocked", ...DIALOG, tail: [/^◆ +\S/, 12, /^└/] },
    { name: "farewell", state: "exited", tail: [/^ +● session closed · /] },
    { name: "starting", state: "starting", tail: [/^[◒◐◓◑] +starting \d+ extension/] },
    {
      name: "interrupted",
      state: "idle",
      endsTurn: true,
      cursorWithin: AT_PROMPT,
      readsLine: true,
      tail: [/^🪿 ?Interrupted, what should/u],
    },
    { name: "prompt", state: "idle", cursorWithin: AT_PROMPT, readsLine: true, tail: [READY] },
    {
      name: "prompt-old",
      state: "idle",
      cursorAtEnd: true,
      readsLine: true,
      tail: [OLD_PROMPT],
    },
    {
      name: "prompt-typed",
      state: "idle",
      readsLine: "surely",
      tail: [PROMPT, { gap: 200, without: PROMPT }],
    },
    { name: "spinner", state: "busy", tail: [/^ *[◒◐◓◑⠁-⣿] +\S/] },
    {
      name: "open-turn",
      state: "busy",
      // A prompt that was sent, and no new one below it.
      readsLine: false,
      tail: [
        /^(?:🪿|\( ?[Oo]\)>) *(?!Enter to send|Interrupted)\S/u,
        { gap: 400, without: PROMPT },
        /\S/,
      ],
      not: [{ tail: [/^(?:🪿|\( ?[Oo]\)>)/u] }, { tail: [/^└/] }],
    },
    {
      name: "output-fills-screen",
      state: "busy",
      title: /^🪿 /u,
      tail: [/\S/],
      not: [{ tail: [PROMPT, 1000] }, { tail: [/^└/] }, ...STARTED],
    },
    {
      name: "reads-no-line",
      state: "busy",
      // Whatever it prints: neither its prompt nor a dialog stands there.
      readsLine: "surely not",
      cursorHidden: false,
      tail: [/\S/],
      not: [
        ...STARTED,
        { tail: [/^ *error\b/i, 3] },
        { tail: [/^◇ +Share anonymous usage data/, 8] },
      ],
    },
  ],
};
