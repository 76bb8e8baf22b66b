import type { RuleSet } from "../screen-rule.ts";

/** The line to type in; a hint or what was typed follows the arrow. */
const COMPOSER = /^ *(?:│ )? ?→ (?!Run |Accept|Approve|Yes)\S?/;
const BUSY = /^ *[⬡⬢⠀-⣿]+ +\S.*?\d+(?:\.\d+k?)? tokens\b|ctrl\+c to stop|\(esc to interrupt\)/;
const RULE = /^─{8}/;

/** Cursor's agent, from recorded screens of 2025 and 2026; not run here. */
export const cursorRules: RuleSet = {
  runtime: "Cursor",
  version: /^ *v(\d{4}\.\d{2}\.\d{2})/,
  restingUnknownIsBlocked: true,
  quitKeys: "\x03\x03",
  interruptKeys: "\x03",
  rules: [
    {
      name: "permission-box",
      state: "permission",
      tail: [/\?(?: *│)?$/, 6, /→ (?:Run|Accept|Approve|Yes)\b.*\(y\)/, 8],
      not: [{ tail: [/→ (?:Add a follow-up|Plan, search)/, 8] }],
      ask: {
        text: /^[ │]*(\S.*\?)[ │]*$/,
        option:
          /^[ │]*(?:→ )?(?<label>(?:Run|Reject|Add|Auto-run|Accept|Approve)\b.*?)\((?<key>[^)]+)\)[^()]*$/,
      },
      keys: { allow: "y", deny: "\x1b" },
    },
    {
      name: "trust",
      state: "starting",
      tail: [/Workspace Trust|Do you trust/i, 12, /\[a\] Trust|Trust this/i, 6],
    },
    { name: "composer-busy", state: "busy", tail: [BUSY, 6] },
    { name: "thinking", state: "busy", tail: [BUSY, 3, /^ *[┌╭]─/, COMPOSER, 4, /^ *[└╰]─/, 5] },
    { name: "composer-box", state: "idle", tail: [/^ *[┌╭]─/, COMPOSER, 4, /^ *[└╰]─/, 5] },
    { name: "composer", state: "idle", tail: [/^ *→ (?:Plan, search|Add a follow-up)/, 5] },
    { name: "composer-rule", state: "idle", tail: [RULE, /^❯/] },
  ],
};
