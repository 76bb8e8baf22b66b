import type { RuleSet, ToolReading } from "../screen-rule.ts";

/** The lower edge of the composer's box. A side bar may stand right of any row. */
const EDGE = /^ *╹▀/;
const FOOTER = /ctrl\+p\b|^ *opencode v\d/i;
/** A dialog that is higher than the terminal: to its last row none but its own. */
const CUT_OFF = { gap: 60, without: /^ *(?!┃)\S/ };
/** A title in its place: in the middle of the screen, or, in a narrow terminal, one that is known. */
const DIALOG =
  /^(?: {9,}[A-Z]\S*(?: \S+){0,5}|.* (?:Select \w+|Sessions|Themes|Status|Commands|MCPs|Connect a provider)) {8,}esc(?: |$)/;
/** The agent and the model of a turn that goes on. */
const OPEN_TURN = /^ *▣ +(?:(?! {3}| · (?:\d|interrupted)).)+(?: {3}.*)?$/;
const BUSY = /\besc (?:again to )?interrupt\b/;

const titled = (title: string) => new RegExp(`^ *┃ +△ Permission required\\b.*\\n *┃ +${title}`);
/** The row below its heading; what it quotes stands further down, and may look like a heading. */
const TOOL: ToolReading = {
  says: [
    { rows: titled("# Shell command\\b"), name: "bash" },
    { rows: titled("→ Edit "), name: "edit" },
    { rows: titled("→ Read "), name: "read" },
    { rows: titled("→ List "), name: "list" },
    { rows: titled("✱ Glob "), name: "glob" },
    { rows: titled("✱ Grep "), name: "grep" },
    { rows: titled("% WebFetch "), name: "webfetch" },
    { rows: titled("← Access external directory\\b"), name: "external_directory" },
    { rows: titled("⚙ Call tool ([\\w.-]+)(?: {3}.*)?\\n") },
  ],
  alone: /^ *┃ +△ /,
};

/** OpenCode 1.14–1.18 (measured with 1.18.33). Its title is no sign of its state. */
export const openCodeRules: RuleSet = {
  runtime: "OpenCode",
  version: /(?:OpenCode |opencode v| {2})(\d+\.\d+\.\d+)\s*$/,
  restingUnknownIsBlocked: true,
  composer: /^ *┃/,
  quitKeys: "\x03",
  interruptKeys: "\x1b\x1b",
  rules: [
    {
      name: "permission-dialog",
      state: "permission",
      tail: [/^ *┃ +△ /, 60, /^ *┃ +Allow once +Allow always +Reject/, 3],
      ask: {
        text: /┃ +△ (Permission required|.*?)(?: {3}.*)?$/,
        tool: TOOL,
        options: [
          { key: "once", label: "Allow once" },
          { key: "always", label: "Allow always" },
          { key: "reject", label: "Reject" },
        ],
      },
      keys: {
        allow: "\r",
        deny: "\x1b",
        option: ["\r", "\x1b[C\r", "\x1b[C\x1b[C\r"],
        coloured: true,
      },
    },
    {
      name: "permission-always",
      state: "permission",
      // After "Allow always": a yes to this once is no answer to it.
      tail: [/^ *┃ +△ /, 60, /^ *┃ +Confirm +Cancel/, 3],
      ask: {
        text: /┃ +△ (.*?)(?: {3}.*)?$/,
        options: [
          { key: "confirm", label: "Confirm" },
          { key: "cancel", label: "Cancel" },
        ],
      },
      keys: { deny: "\x1b", option: ["\r", "\x1b[C\r"], coloured: true },
    },
    {
      name: "permission-other",
      state: "permission",
      tail: [/^ *┃ +△ /, 60, /^ *┃ .*(?:enter confirm|esc cancel)/, 3],
      ask: { text: /┃ +△ (.*?)(?: {3}.*)?$/ },
      keys: { deny: "\x1b" },
    },
    {
      name: "question-dialog",
      state: "question",
      tail: [/^ *┃ +.*\benter (?:submit|confirm|toggle|next)\b.* {2}esc dismiss/, 2],
      not: [{ tail: [EDGE, 4, FOOTER, 3] }],
      ask: { text: /┃ +(\S.*\?)\s*$/ },
      keys: { deny: "\x1b", option: "enter" },
    },
    {
      name: "question-options",
      state: "question",
      tail: [/^ *┃ +.*\?/, 40, /^ *┃ .*\besc dismiss\b/, 3],
      not: [{ tail: [EDGE, 4, FOOTER, 3] }],
      keys: { deny: "\x1b" },
    },
    {
      name: "permission-cut-off",
      state: "permission",
      tail: [/^ *┃ +△ /, CUT_OFF, /^ *┃/],
      ask: { text: /┃ +△ (.*?)(?: {3}.*)?$/ },
    },
    {
      name: "question-cut-off",
      state: "question",
      tail: [/^ *┃ +\S.*\?/, 3, /^ *┃ +1\. /, CUT_OFF, /^ *┃/],
      ask: { text: /┃ +(\S.*\?)\s*$/ },
    },
    {
      name: "questions-cut-off",
      state: "question",
      tail: [/^ *┃ +\S.* {3}Confirm\b/, CUT_OFF, /^ *┃/],
    },
    {
      name: "permission-in-transcript",
      state: "permission",
      versions: "<1.1",
      // In a box of its own, which the words of a person are not; its composer stays where it is.
      tail: [
        /^ *┃ +Permission required to run this tool: +┃/,
        /^ *┃ +┃/,
        /^ *┃ +enter accept +a accept always +d deny +┃/,
        { gap: 12, without: / · (?:\d|interrupted)/ },
        EDGE,
        BUSY,
        2,
      ],
      ask: { text: /┃ +(Permission required to run this tool)/ },
    },
    { name: "footer-interrupt", state: "busy", tail: [EDGE, BUSY, 2] },
    {
      name: "footer-bar",
      state: "busy",
      // What stands right of the bar may be cut or broken by a narrow terminal.
      tail: [EDGE, /^ *[■⬝]{4,}/, 3],
    },
    {
      name: "open-turn",
      state: "busy",
      // A footer may come late. How long a turn took stands behind its model once it is over, except where it failed or was
      // refused a tool: nothing that it said stands there then.
      tail: [
        /^ {5}[^\s┃→←✱⚙%$#│~]/,
        { gap: 2, without: /┃/ },
        OPEN_TURN,
        { gap: 12, without: /▣/ },
        EDGE,
        4,
        FOOTER,
        3,
      ],
    },
    {
      name: "dialog",
      state: "blocked",
      // It is drawn over the screen, composer and all: its title, and right of it the key that closes it.
      tail: [DIALOG, 200],
    },
    {
      name: "farewell",
      state: "exited",
      tail: [/^ *Session {2,}/, 2, /^ *Continue +opencode -s /, 1],
    },
    {
      name: "farewell-older",
      state: "exited",
      tail: [/^ *█▀▀█ /, /^ *█ {2}█ +opencode -s ses_/, 1],
    },
    {
      name: "interrupted",
      state: "idle",
      endsTurn: true,
      tail: [/^ *▣ .* · interrupted\b/, { gap: 12, without: /▣/ }, EDGE, 4, FOOTER, 3],
    },
    { name: "composer", state: "idle", tail: [/^ *┃/, 2, EDGE, 4, FOOTER, 3] },
  ],
};
