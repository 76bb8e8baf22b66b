import type { AskReading, DialogKeys, RuleSet, ToolReading } from "../screen-rule.ts";

/** `!`: what is typed goes to a shell. A box to tick is an option's. */
const COMPOSER = /^[›!](?! ?\[[ x]\] )/;
/** The line below the composer, in the forms it had: key help, context left, model and directory. */
const FOOTER =
  /\? for shortcuts|← for agents|^ {2}esc again to edit previous message| {2}\d[\d.]*[KM]? used$|\d+% (?:context )?left|^ *\S+.* · [~/]\S*(?: · .*)?$|^ {2}[~/]\S*(?: · .*)?$/;
/** From the first column; what is quoted in an answer is indented. */
const INTERRUPT = /^\S.*\((?:\d+[hms] ?)+ • (?:esc|ctrl ?\+? ?c) to interrupt\)/i;
/** What stands at the end of every turn of 0.169. */
const TURN_END = /^(?: {2}|─ )Worked for |^ {2}done \d|^■ |^› /;
/** As those say it that say it of every turn. */
const MARKED_END = /^ {2}(?:Worked for .* • \d|done \d+:\d\d)/;
/** What follows a prompt that nothing has ended yet. */
const GOES_ON = { gap: 200, without: TURN_END };
/** What is typed into the composer: its further rows are indented. */
const TYPED = { gap: 60, without: /^(?:[•■✔✗›] | {2}Worked for )/ };

/** A title that says neither of a turn nor of a dialog. */
const RESTS = /^(?!\[)[^⠀-⣿]+$/;

/** What an MCP server's tool needs permission with: a form of one field. */
const TOOL_FORM = /^ {2}Allow the .* MCP server\b/;

/** The options, below all that a dialog quotes: they tell what it is about, the question alone does not. */
const options = (second: string) =>
  String.raw`\n[› ] 1\. Yes, proceed \(y\)\n${second}[› ] \d\. No, and tell Codex [^\n]*\n {2}Press enter to [^\n]*$`;
const OF_FILES = options(String.raw`[› ] 2\. Yes, and don't ask again for these files \(a\)\n`);
const OF_ANYTHING = options(String.raw`(?:(?![› ] 1\.)[^\n]*\n)*`);
/** As its hooks call them. */
const TOOL: ToolReading = {
  says: [
    {
      rows: new RegExp(`^ {0,2}Would you like to make the following edits\\?\n[^]*${OF_FILES}`),
      name: "apply_patch",
    },
    {
      rows: new RegExp(
        `^ {0,2}Would you like to run the following command\\?\n(?![^]*${OF_FILES})[^]*${OF_ANYTHING}`,
      ),
      name: "Bash",
    },
  ],
};

const PERMISSION_ASK: AskReading = {
  text: /^ *((?:Would you like|Do you want|Allow|Approve|Enable) .*\?)(?: \[y\/n\])?$/,
  tool: TOOL,
  option: /^[› ] (?<key>\d+)\. (?<label>.+)$/,
};
const PERMISSION_KEYS: DialogKeys = {
  allow: "y",
  once: /^[› ] 1\. (?:Yes|Allow|Approve)\b(?!.*\b(?:ask again|always|session|auto))/i,
  deny: "\x1b",
  option: "key",
};

/** Codex (measured with 0.155.0, 0.169.0 and 0.171.0), and older screens as far as they were seen. */
export const codexRules: RuleSet = {
  runtime: "Codex",
  version: /OpenAI Codex \(v(\d+\.\d+\.\d+)/,
  restingUnknownIsBlocked: true,
  composer: /^ *[›❯>]/,
  quitKeys: "\x03",
  rules: [
    {
      name: "approval-dialog",
      state: "permission",
      tail: [
        /^ {0,2}(?:Would you like|Do you want|Allow|Approve|Enable) .*\?$/,
        60,
        // A list that is longer than its window shows another option first.
        /^[› ] \d+\. /,
        30,
        /^ {2}Press enter to confirm or esc to (?:cancel|go back)/i,
      ],
      ask: PERMISSION_ASK,
      keys: PERMISSION_KEYS,
    },
    {
      name: "approval-dialog-narrow",
      state: "permission",
      // Its question and its help go on in a next row; that it is no text in a composer without a footer is said by the title.
      title: /Action Required/,
      tail: [
        /^ {0,2}(?:Would you like|Do you want|Allow|Approve|Enable) /,
        60,
        /^[› ] \d+\. /,
        30,
        /^ {2}Press enter to /i,
        { gap: 2, without: FOOTER },
      ],
      ask: PERMISSION_ASK,
      keys: PERMISSION_KEYS,
    },
    {
      name: "approval-dialog-wrapped",
      state: "permission",
      // The same without a title: its help ends the screen, where a composer would have its footer.
      tail: [
        /^ {0,2}(?:Would you like|Do you want|Allow|Approve|Enable) /,
        60,
        /^[› ] \d+\. /,
        30,
        /^ {2}Press enter to confirm or esc to$/i,
        /^ {2}(?:cancel|go back)$/,
      ],
      ask: PERMISSION_ASK,
      keys: PERMISSION_KEYS,
    },
    {
      name: "approval-box",
      state: "permission",
      tail: [/^[╭┏][─━] .*Approv/, 20, /\[a\] Accept\s+\[d\] Decline/, /^[╰┗]/],
      ask: {
        text: /^[╭┏][─━] (.*Approv.*?) [─━]/,
        options: [
          { key: "a", label: "Accept" },
          { key: "d", label: "Decline" },
        ],
      },
      keys: { allow: "a", deny: "d", option: "key" },
    },
    {
      name: "approval-line",
      state: "permission",
      cursorAtEnd: true,
      tail: [/^(?:Approve|Allow|Run) .*\? \[y\/n\]:?$/],
      ask: { text: /^(.*\?) \[y\/n\]/ },
      keys: { allow: "y\r", deny: "n\r" },
    },
    {
      name: "tool-form",
      state: "permission",
      tail: [/^ {2}Field \d+\/\d+/, 1, TOOL_FORM, 40, /^ *[› ] \d+\. /, 14, /^ *enter to submit\b/],
      ask: {
        text: /^ *(Allow the .*)$/,
        tool: {
          says: [
            {
              rows: /^ {2}Field \d+\/\d+.*\n {2}Allow the \S+ MCP server to run tool "([^"\n]+)"\?\n/,
            },
          ],
          alone: TOOL_FORM,
        },
        option: /^ *[› ] (?<key>\d+)\. (?<label>.+?)(?: {2,}.*)?$/,
      },
      keys: { allow: "1", once: /^ *[› ] 1\. Allow(?: {2,}|$)/, deny: "\x1b", option: "key" },
    },
    {
      name: "form",
      state: "question",
      tail: [/^ {2}Field \d+\/\d+/, 40, /^ *enter to submit\b/, 1],
      ask: { text: /^ {2}(?!Field )(\S.*)$/ },
      keys: { deny: "\x1b" },
    },
    {
      name: "question-dialog",
      state: "question",
      tail: [/^ {2}Question \d+\/\d+/, 40, /enter to submit/],
      ask: {
        text: /^ {2}(?!Question )(\S.*\?)$/,
        option: /^ *[› ] (?<key>\d+)\. (?<label>.+?)(?: {2,}.*)?$/,
      },
      keys: { deny: "\x1b", option: "key" },
    },
    {
      name: "sign-in",
      state: "starting",
      tail: [
        /Choose how you want to use Codex|Sign in with ChatGPT/,
        14,
        /Press enter to continue/,
      ],
    },
    {
      name: "update-dialog",
      state: "starting",
      tail: [/Update available!/, 8, /Press enter to continue/],
    },
    {
      name: "start-dialog",
      state: "starting",
      tail: [/^[›>] 1\. /, 10, /^ *Press enter to (?:continue|confirm)$/i],
    },
    {
      name: "list-dialog",
      state: "blocked",
      tail: [/^[›>] (?:\d+\. )?\S/, 30, /^ *(?:Press )?enter (?:to )?\w.*\besc (?:to )?\w/i],
      not: [{ tail: [COMPOSER, TYPED, FOOTER, 2] }, { title: /Action Required/ }],
    },
    {
      name: "farewell",
      state: "exited",
      tail: [/^To continue this session, run:?/, /codex resume [0-9a-f-]{8}/, 1],
    },
    {
      name: "farewell-line",
      state: "exited",
      tail: [/^To continue this session, run codex resume [0-9a-f-]{8}/, 1],
    },
    { name: "title-action", state: "permission", title: /^\[ [!.] \] Action Required/ },
    { name: "title-spinner", state: "busy", title: /^[⠀-⣿] / },
    {
      name: "session-list",
      state: "blocked",
      tail: [/─ \d+ \/ \d+ · \d+% ─$/, /^ *enter \w+ .*\besc \w/, 2],
    },
    {
      name: "pager",
      state: "blocked",
      tail: [/^ *↑\/↓ to scroll\b/, /^ *q (?:to )?(?:close|quit)\b/],
    },
    {
      name: "panel",
      state: "blocked",
      // What it says last is which keys it takes; below a composer there is its footer.
      tail: [/^ {2}Press \S+ to \w/i],
      not: [{ title: /Action Required/ }],
    },
    {
      name: "help-of-keys",
      state: "blocked",
      // In a narrow terminal it goes on in a next row.
      tail: [/^ {1,2}\S.*\besc (?:back|cancel|close|exit|save)\b/, { gap: 1, without: COMPOSER }],
      not: [{ tail: [COMPOSER, TYPED, FOOTER, 2] }, { title: /Action Required/ }],
    },
    {
      name: "status-line",
      state: "busy",
      tail: [INTERRUPT, { gap: 8, without: TURN_END }, COMPOSER, TYPED, FOOTER, 2],
    },
    {
      name: "status-line-any-footer",
      state: "busy",
      tail: [INTERRUPT, { gap: 8, without: TURN_END }, /^›(?! \d+\. | ?\[)/, TYPED],
    },
    {
      name: "draft-waits",
      state: "busy",
      // What is typed can be queued only behind a turn.
      tail: [COMPOSER, TYPED, 2, /^ {2}tab to queue message\b/, 1],
    },
    { name: "status-line-alone", state: "busy", tail: [INTERRUPT, 1] },
    { name: "thinking-line", state: "busy", tail: [/^Codex is thinking…$/, 3] },
    {
      name: "open-turn",
      state: "busy",
      versions: ">=0.150",
      // Without a title nothing but the missing end of the turn tells streaming from idle.
      title: /^$/,
      // A prompt in the first row may be one that stays there, whatever is shown now.
      tail: [/./, /^› \S/, GOES_ON, COMPOSER, TYPED, /← for agents/],
    },
    {
      name: "open-turn-from-the-top",
      state: "busy",
      versions: ">=0.150",
      title: /^$/,
      tail: [
        /^› \S/,
        { gap: 60, without: /^\S/ },
        /^• (?!Unrecognized command)/,
        GOES_ON,
        COMPOSER,
        TYPED,
        /← for agents/,
      ],
    },
    {
      name: "open-turn-after-another",
      state: "busy",
      title: /^$/,
      tail: [MARKED_END, 400, /^› \S/, GOES_ON, COMPOSER, TYPED, FOOTER, 2],
    },
    {
      name: "open-turn-scrolled",
      state: "busy",
      versions: ">=0.150",
      title: /^$/,
      tail: [
        ...Array.from({ length: 12 }, () => /^ {2,8}(?!Worked for )[^\s⠀-⣿]/),
        COMPOSER,
        TYPED,
        /← for agents/,
      ],
    },
    {
      name: "tool-ends-turn",
      state: "busy",
      // A turn never ends with what a tool said.
      title: /^$/,
      tail: [/^ {2}└ \S/, { gap: 12, without: /^(?! {4})/ }, COMPOSER, TYPED, FOOTER, 2],
    },
    {
      name: "interrupted",
      state: "idle",
      endsTurn: true,
      tail: [/^■ Conversation interrupted/, 3, COMPOSER, TYPED, FOOTER, 2],
    },
    { name: "composer", state: "idle", tail: [COMPOSER, TYPED, FOOTER, 2] },
    {
      name: "composer-menu",
      state: "idle",
      // Older ones show commands, or keys, in the footer's place.
      tail: [/^› \/\S*$/, /^ {2}(?:\/\w|no matches)/, { gap: 9, without: /^(?! {2})/ }],
    },
    {
      name: "composer-keys",
      state: "idle",
      tail: [COMPOSER, TYPED, /^ {2}\/ for commands\b/, { gap: 6, without: /^(?! {2})/ }],
    },
    {
      name: "composer-fills-screen",
      state: "idle",
      // Its footer is pushed away; the title says that it rests.
      title: RESTS,
      tail: [/^› .* ↑$/, TYPED],
    },
    {
      name: "composer-without-footer",
      state: "idle",
      title: RESTS,
      cursorAtEnd: true,
      cursorHidden: false,
      tail: [/^[›!] ?(?!\d+\. |\[)/, TYPED],
    },
    { name: "bare-prompt", state: "idle", cursorAtEnd: true, tail: [/^❯$/] },
  ],
};
