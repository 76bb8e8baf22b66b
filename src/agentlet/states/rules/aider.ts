import type { RuleSet } from "../screen-rule.ts";

/** `> `, or the edit format or mode before it. */
const PROMPT = /^(?:[a-z][a-z-]{0,15}(?: multi)?)?> ?$/;
const CONFIRM = /\(Y\)es\/\(N\)o/;

/** Aider, from its source and documentation and recorded screens of 0.81; not run here. */
export const aiderRules: RuleSet = {
  runtime: "Aider",
  version: /^Aider v(\d+\.\d+\.\d+)/,
  restingUnknownIsBlocked: true,
  quitKeys: "/exit\r",
  interruptKeys: "\x03",
  rules: [
    {
      name: "confirm",
      state: "permission",
      cursorAtEnd: true,
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
      tail: [/^─{8}/, { gap: 40, without: /^─{8}/ }, PROMPT],
    },
    { name: "prompt-plain", state: "idle", cursorAtEnd: true, tail: [PROMPT] },
    {
      name: "prompt-with-files",
      state: "idle",
      tail: [/^─{8}/, { gap: 20, without: /[^\w./() @-]/ }, PROMPT],
    },
  ],
};
