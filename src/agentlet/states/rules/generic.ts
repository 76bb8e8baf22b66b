import type { RuleSet } from "../screen-rule.ts";

/** What programs of no known kind have in common. Idle only by a title that says so: nothing else is proof. */
export const genericRules: RuleSet = {
  runtime: "Custom",
  restingUnknownIsBlocked: false,
  enterAfterMs: 200,
  interruptKeys: "\x03",
  rules: [
    { name: "title-action", state: "permission", title: /Action Required/i },
    {
      name: "yes-no",
      state: "permission",
      cursorAtEnd: true,
      tail: [
        /\S.*(?:\[[Yy]\/[Nn](?:\/\w)?\]|\([Yy]\/[Nn]\)|\((?:yes\/no|Y\)es\/\(N\)o).*)[:?]? ?$/,
      ],
      ask: { text: /^(.*?) *[[(](?:[Yy]|yes)/ },
      keys: { allow: "y\r", deny: "n\r" },
    },
    {
      name: "yes-no-above-prompt",
      state: "permission",
      cursorAtEnd: true,
      tail: [/\S.*\[[Yy]\/[Nn](?:\/\w)?\]:?$/, /^> ?$/],
      ask: { text: /^(.*?) *\[[Yy]/ },
      keys: { allow: "y\r", deny: "n\r" },
    },
    { name: "title-working", state: "busy", title: /^\s*(?:✦|[⠁-⣿]|[◐◑◒◓]) / },
    {
      name: "list-dialog",
      state: "blocked",
      tail: [
        /^\W*[❯›→●] ?\S/,
        30,
        /\b(?:enter|esc)\b.*\bto (?:select|confirm|cancel|continue)\b/i,
        2,
      ],
    },
    {
      name: "key-help",
      state: "busy",
      tail: [/\besc to (?:interrupt|cancel)\b|ctrl\+c to (?:stop|interrupt)/i, 3],
      // Help that always stands there says what else there is to press.
      not: [
        { tail: [/\bfor (?:commands|history|shortcuts)\b.* to (?:interrupt|cancel|stop)\b/i, 3] },
      ],
    },
    { name: "spinner-line", state: "busy", tail: [/^ ?[⠁-⣿] +\S.*(?:…|\.{3})/] },
    { name: "title-ready", state: "idle", title: /^\s*◇ {1,2}Ready\b/ },
  ],
};
