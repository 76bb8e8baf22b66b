import type { RuleSet } from "../screen-rule.ts";

/** `> `, or the edit format or mode before it. */
const PROMPT = /^(?:[a-z][a-z-]{0,15}(?: multi)?)?> ?$/;
const TYPED = /^(?:[a-z][a-z-]{0,15}(?: multi)?)?> /;
/** What it says of itself before its first prompt. */
const BANNER =
  /^(?:Analytics have|Aider v|(?:Main m|Weak m|Editor m|M)odel: |Git repo: |Repo-map: )/;
/** Not what is typed at its prompt. */
const CONFIRM = /^(?!(?:[a-z][a-z-]{0,15}(?: multi)?)?> ).*\(Y\)es\/\(N\)o/;

/**
 * Aider 0.86 (measured), and recorded screens of 0.81. What the model says stands on the screen as its prompt does; but it marks
 * pastes only while it reads a line.
 */
export const aiderRules: RuleSet = {
  runtime: "Aider",
  version: /^Aider v(\d+\.\d+\.\d+)/,
  restingUnknownIsBlocked: true,
  composer: /^(?:[a-z][a-z -]{0,20})?>/,
  quitKeys: "/exit\r",
  interruptKeys: "\x03",
  rules: [
    {
      name: "confirm",
      state: "permission",
      cursorAtEnd: true,
      readsLine: true,
      tail: [CONFIRM, { gap: 2, without: PROMPT }],
      not: [{ tail: [/\[(?:Yes|No|[yn])\]: ?\S/i] }, { tail: [/\[(?:Yes|No)\]: ?\S/i, 3] }],
      ask: { text: /^(.*?\?) *\(Y\)es/ },
      keys: { allow: "y\r", deny: "n\r" },
    },
    {
      name: "waiting",
      state: "busy",
      tail: [/^[░█ ▒▓]*(?:Waiting for |Thinking|► \*\*THINKING)/, 2],
    },
    {
      name: "prompt",
      state: "idle",
      cursorAtEnd: true,
      readsLine: true,
      tail: [/^─{8}/, { gap: 40, without: /^─{8}/ }, PROMPT],
    },
    {
      name: "prompt-plain",
      state: "idle",
      cursorAtEnd: true,
      readsLine: true,
      tail: [PROMPT],
    },
    {
      name: "prompt-with-files",
      state: "idle",
      readsLine: true,
      tail: [/^─{8}/, { gap: 20, without: /[^\w./() @-]/ }, PROMPT],
    },
    {
      name: "prompt-typed",
      state: "idle",
      readsLine: "surely",
      tail: [TYPED, { gap: 40, without: CONFIRM }],
    },
    {
      name: "reads-no-line",
      state: "busy",
      // Whatever it prints: neither its prompt nor a question stands there.
      readsLine: "surely not",
      tail: [/\S/],
      not: [{ tail: [BANNER] }],
    },
  ],
};
