import type { DialogKeys, RuleSet, ToolReading } from "../screen-rule.ts";

/** Above a composer whose text is longer than its box: its first rows are scrolled away. */
const SCROLLED = /^─── ↑ \d+ more ─/;
/** A rule across the screen, as it frames the composer and stands above dialogs. */
const LINE = /^─{8}|^─── [↑↓] \d+ more ─/;
const COMPOSER = /^[❯!]/;
/** Of 2.0, between two lines as well. */
const OLDER_COMPOSER = /^[>!]/;
const OLDER_ACTIVITY = /^[·✢✳✶✻✽✺*] \S.*\besc to interrupt\b/;
/** Above the panels that take the composer's place. */
const PANEL = /^[▔─]{8}/;
/** What is typed into the composer, below its first row. */
const TYPED = { gap: 60, without: LINE };
/** What the composer's footer says while Claude waits; alone it says so only below a composer. */
const IDLE_FOOTER =
  /\? for shortcuts|(?:mode|edits|bypass permissions) on\b|shift\+tab to|← for agents|Press (?:Ctrl-C|Ctrl-D|Esc) again|^ *! for (?:shell|bash) mode$|^ *paste again to expand$|Esc to clear again$/;
/** A line of help that a narrow terminal breaks; below a composer's text there is always a line across the screen. */
const WRAPPED = { gap: 2, without: LINE };
/** Below a dialog: its help, and the tasks of the turn. */
const BELOW_DIALOG = { gap: 16, without: LINE };
/** Between the composer and its footer: what a person's own status line prints. */
const STATUS_LINE = { gap: 4, without: LINE };
/** The composer, with the footer of a CLI that takes input. */
const COMPOSER_BOX = [LINE, COMPOSER, TYPED, LINE];
const RESTING = [...COMPOSER_BOX, STATUS_LINE, IDLE_FOOTER, 2];
/** The end of a turn that was short: those who mark it mark every one. */
const MARKED_END = /^✻ \S+ for (?:[12]?\ds\b|.* · done )/;
/** What a turn says; not what ends it, nor a question of the CLI's own. */
const SAYS = /^[⏺●] (?!How is Claude doing|API Error\b|(?:User d|D)eclined to answer)\S/;
/** What the turn does, above the composer; a model that does not answer is tried again, a background agent waited for. */
const ACTIVITY =
  /^[·✢✳✶✻✽✺*] \S.*(?:… ?(?:\(|$)| · [Rr]etrying in \d)|^✻ Waiting for \d+ \S.* to finish/;
/** Below the activity: a tip, the tasks; nothing that was said later. */
const BELOW_ACTIVITY = { gap: 14, without: /^(?:[⏺●❯] |✻ \S+ for \d|─{8})/ };
/** What is said goes on below its first row; nothing ends the turn. */
const SAID = {
  gap: 200,
  without:
    /^(?:✻ \S+ for \d|❯ |─{8})| {2}⎿ {1,2}(?:Interrupted · |Rejected |User rejected )|^[⏺●] (?:API Error\b|(?:User d|D)eclined to answer)/,
};
const TEXT = /^ {2,4}[^\s⎿]/;
/** A dialog that a command asked for is none of the start. */
const COMMANDED = { tail: [/^[❯>] \/[a-z]/, 200] };
const INTERRUPT = /esc to interrupt/i;

/** The question above the options; in a narrow terminal it goes on in the next row. */
const ASKS = /^ ?(?:Do you want|Would you like|Claude needs|Allow )/;
const ASKS_FOR_PLAN = /^ {0,4}(?:Ready to code|(?:Claude has .* )?Would you like to proceed)\?$/;

/**
 * Its title is the first row below the line across the screen: what a dialog quotes is indented, and never that line. One that is
 * higher than the terminal has lost both. `Read file` stands above other searches too.
 */
const TOOL: ToolReading = {
  says: [
    { rows: /^─+\n Bash command\b/, name: "Bash" },
    { rows: /^─+\n (?:Create|Overwrite|Write) file\n/, name: "Write" },
    { rows: /^─+\n Edit file\n/, name: "Edit" },
    { rows: /^─+\n Edit notebook\n/, name: "NotebookEdit" },
    { rows: /^─+\n Read file\n(?:╌+\n)* +Read\(/, name: "Read" },
    { rows: /^─+\n Fetch\n/, name: "WebFetch" },
  ],
};

/** Refusing by a number is not safe (No was 4 for Bash and 3 for Write): Esc refuses everywhere, and ends the turn. */
const PERMISSION_KEYS: DialogKeys = {
  allow: "1",
  // Of a plan the first option changes the mode of the session.
  once: /^[ │❯]*1\. Yes[ │]*$/,
  deny: "\x1b",
  option: "key",
};
const PERMISSION_ASK = {
  text: /^[ │]*((?:Do you want|Would you like|Claude (?:needs|has written)|Allow |Exit plan mode|Ready to code).*\?)[ │]*$/,
  tool: TOOL,
  option: /^[ │❯]*(?<key>\d)\. (?<label>.+?)[ │]*$/,
};

const QUESTION_ASK = {
  text: /^ ?(\S.*\?)$/,
  option: /^[ ❯↓] *(?<key>\d)\. (?:\[.\] )?(?<label>.+)$/,
};

/** Claude Code 2.1 (measured with 2.1.204 to 2.1.332), 2.0 (2.0.70) and the boxed screens before it. */
export const claudeCodeRules: RuleSet = {
  runtime: "ClaudeCode",
  version: /Claude Code v(\d+\.\d+\.\d+)/,
  restingUnknownIsBlocked: true,
  composer: /^ *(?:│ *)?[❯>]/,
  quitKeys: "\x03\x03",
  rules: [
    {
      name: "permission-dialog",
      state: "permission",
      // The composer gives way to it: below its options there is at most a line of help, and never a line across the screen.
      tail: [LINE, 200, ASKS, 3, /^ ?[ ❯] ?1\. Yes/, { gap: 16, without: LINE }],
      ask: PERMISSION_ASK,
      keys: PERMISSION_KEYS,
    },
    {
      name: "permission-dialog-unframed",
      state: "permission",
      // Higher than the terminal: its upper rows are scrolled away.
      tail: [ASKS, 3, /^ ?[ ❯] ?1\. Yes/, { gap: 16, without: LINE }],
      ask: PERMISSION_ASK,
      keys: PERMISSION_KEYS,
    },
    {
      name: "permission-box",
      state: "permission",
      versions: "<2.1",
      tail: [/^ ?│ *(?:Do you want|Would you like) .*\?/, 3, /^ ?│ *[❯ ] *1\. Yes/, 8, /^ ?╰─/, 2],
      ask: PERMISSION_ASK,
      keys: PERMISSION_KEYS,
    },
    {
      name: "plan-panel",
      state: "permission",
      tail: [/^ *Exit plan mode\?$/, { gap: 40, without: COMPOSER }, /^ *[❯ ] *1\. Yes/, 8],
      not: [{ tail: [...COMPOSER_BOX, 3] }],
      ask: PERMISSION_ASK,
      keys: PERMISSION_KEYS,
    },
    {
      name: "question-dialog",
      state: "question",
      tail: [/^[ ←]*[☐☒☑✔] /, 60, /^[ ❯] ?\d+\. /, 20, /^ ?Enter to select · /, BELOW_DIALOG],
      ask: QUESTION_ASK,
      keys: { deny: "\x1b", option: "key" },
    },
    {
      name: "question-dialog-scrolled",
      state: "question",
      tail: [/\?$/, 60, /^[ ❯↓] ?\d+\. /, 20, /^ ?Enter to select · /, BELOW_DIALOG],
      ask: QUESTION_ASK,
      keys: { deny: "\x1b", option: "key" },
    },
    {
      name: "question-review",
      state: "question",
      // After several questions: the answers, before they are sent.
      tail: [/^ ?[ ❯] ?1\. Submit answers/, /^ ?[ ❯] ?2\. Cancel/, BELOW_DIALOG],
      ask: {
        text: /^(Review your answers|Ready to submit your answers\?)/,
        option: /^ ?[ ❯] ?(?<key>\d)\. (?<label>.+)$/,
      },
      keys: { deny: "\x1b", option: "key" },
    },
    {
      name: "plan-dialog",
      state: "permission",
      // As its hook has it: the tool is ExitPlanMode.
      tail: [ASKS_FOR_PLAN, 3, /^ *[❯ ] ?1\. Yes/, { gap: 8, without: LINE }],
      not: [{ tail: [...COMPOSER_BOX, 3] }],
      ask: PERMISSION_ASK,
      keys: PERMISSION_KEYS,
    },
    {
      name: "start-dialog",
      state: "starting",
      tail: [/^[ │]*❯ \S/, 6, /^ *Enter to confirm · Esc to (?:cancel|exit)$/],
      not: [COMMANDED],
    },
    {
      name: "start-dialog-above",
      state: "starting",
      tail: [LINE, 30, /^ *[❯ ] *(?:No|Yes)\b/, 4, /^ *Enter to confirm · Esc to (?:cancel|exit)$/],
      not: [COMMANDED],
    },
    {
      name: "login-dialog",
      state: "starting",
      // Asked for by a command it is a panel.
      tail: [/^ *Select login method:/, 12],
      not: [{ tail: [...COMPOSER_BOX, 3] }, { tail: [/^▔{8}/, 40] }],
    },
    {
      name: "list-dialog",
      state: "blocked",
      tail: [/^ *❯ /, 30, /^ *\S.*(?:· |^ *)Esc to (?:cancel|exit|close|go back|clear)\b/i],
      not: [{ tail: [...COMPOSER_BOX, 3] }],
    },
    {
      name: "boxed-dialog",
      state: "blocked",
      versions: "<2.1",
      tail: [/^ *╰─{8}/, /^ {2,}Esc to (?:exit|cancel|close)$/],
    },
    {
      name: "help-panel",
      state: "blocked",
      tail: [/^──Claude Code v\S+─ /, 30, /^ *Esc to \w+$/],
    },
    {
      name: "theme-dialog",
      state: "starting",
      // Its first question; later it says how to leave it.
      tail: [/^ *Choose the text style that looks best/, 10, /^ *❯ \d\. /, 24],
      not: [{ tail: [...COMPOSER_BOX, 3] }],
    },
    {
      name: "numbered-dialog",
      state: "blocked",
      // Without a line of help; what is typed into the composer stands above a line.
      tail: [LINE, { gap: 30, without: LINE }, /^ {1,4}❯ \d+\. /, { gap: 12, without: LINE }],
    },
    {
      name: "panel",
      state: "blocked",
      // It may have no list: a search, an explanation.
      tail: [PANEL, 60, /\bEsc to(?: (?:cancel|close|exit|go back|clear)\b|$)/i, WRAPPED],
      not: [{ tail: [...COMPOSER_BOX, 3] }, { tail: [SCROLLED, TYPED, LINE, 3] }],
    },
    {
      name: "panel-cut-off",
      state: "blocked",
      // Higher than the terminal: what it says last is not on the screen.
      tail: [/^▔{8}/, { gap: 100, without: LINE }],
    },
    {
      name: "farewell",
      state: "exited",
      tail: [/^Resume this session with:─*$/, /^claude .*--resume [0-9a-f-]{36}/],
    },
    { name: "title-spinner", state: "busy", title: /^[◐◑◒◓⠀-⣿] / },
    {
      name: "transcript-view",
      state: "blocked",
      // It covers whatever else there is, and takes no prompt until a person leaves it.
      tail: [LINE, /^ *Showing detailed transcript · /, 1],
    },
    {
      name: "footer-interrupt",
      state: "busy",
      tail: [...COMPOSER_BOX, INTERRUPT, 2],
      not: [{ tail: [...COMPOSER_BOX, /\? for shortcuts/, 2] }],
    },
    {
      name: "footer-interrupt-wrapped",
      state: "busy",
      tail: [...COMPOSER_BOX, IDLE_FOOTER, INTERRUPT, 1],
    },
    {
      name: "footer-interrupt-scrolled",
      state: "busy",
      tail: [SCROLLED, TYPED, LINE, 1, INTERRUPT, 1],
    },
    {
      name: "box-interrupt",
      state: "busy",
      versions: "<2.1",
      tail: [/^[·✢✳✶✻✽*] .*esc to interrupt\)/, 6, /^ ?╭─/, /^ ?│ >/, 8, /^ ?╰─/, 2],
    },
    {
      name: "interrupted",
      state: "idle",
      endsTurn: true,
      title: /^(?:✳ |$)/,
      tail: [/^ {2}⎿ {2}Interrupted · /, LINE, COMPOSER, TYPED, LINE, IDLE_FOOTER, 2],
    },
    {
      name: "composer-shortcuts",
      state: "idle",
      title: /^(?:✳ |$)/,
      tail: [...COMPOSER_BOX, /\? for shortcuts/, 2],
    },
    {
      name: "activity-line",
      state: "busy",
      tail: [ACTIVITY, BELOW_ACTIVITY, LINE, COMPOSER, TYPED, LINE, 4],
    },
    {
      name: "activity-line-scrolled",
      state: "busy",
      tail: [ACTIVITY, BELOW_ACTIVITY, SCROLLED, TYPED, LINE, 4],
    },
    {
      name: "open-turn",
      state: "busy",
      versions: ">=2.1.200",
      // Without a title nothing but the missing end of the turn tells, where ends are marked.
      title: /^$/,
      tail: [SAYS, SAID, ...COMPOSER_BOX, STATUS_LINE, /← for agents/, 2],
    },
    {
      name: "open-turn-after-another",
      state: "busy",
      title: /^$/,
      tail: [MARKED_END, 400, SAYS, SAID, ...RESTING],
    },
    {
      name: "open-turn-scrolled",
      state: "busy",
      versions: ">=2.1.200",
      title: /^$/,
      tail: [
        ...Array.from({ length: 12 }, () => TEXT),
        ...COMPOSER_BOX,
        STATUS_LINE,
        /← for agents/,
        2,
      ],
    },
    {
      name: "composer-scrolled",
      state: "idle",
      title: /^(?:✳ |$)/,
      tail: [SCROLLED, TYPED, LINE, STATUS_LINE, IDLE_FOOTER, 2],
    },
    {
      name: "composer",
      state: "idle",
      title: /^(?:✳ |$)/,
      tail: RESTING,
    },
    {
      name: "composer-help",
      state: "idle",
      title: /^(?:✳ |$)/,
      tail: [LINE, /^[>❯!]/, TYPED, LINE, /^ {2}! for\b/, { gap: 16, without: LINE }],
    },
    {
      name: "composer-resting",
      state: "idle",
      // Help, hints and menus below the composer are many; the title says that it rests.
      title: /^✳ /,
      tail: [...COMPOSER_BOX, { gap: 14, without: /^─{8}|esc to interrupt/i }],
    },
    {
      name: "composer-older-busy",
      state: "busy",
      versions: "<2.1",
      // Its footer stays the same in a turn: only the line above the composer tells.
      tail: [OLDER_ACTIVITY, { gap: 20, without: LINE }, LINE, OLDER_COMPOSER, TYPED, LINE, 3],
    },
    {
      name: "composer-older-interrupted",
      state: "idle",
      endsTurn: true,
      versions: "<2.1",
      tail: [/^ {2}⎿ {1,2}Interrupted · /, LINE, OLDER_COMPOSER, TYPED, LINE, 3],
    },
    {
      name: "composer-older",
      state: "idle",
      versions: "<2.1",
      tail: [LINE, OLDER_COMPOSER, TYPED, LINE, 3],
    },
    {
      name: "composer-commands",
      state: "idle",
      title: /^$/,
      tail: [...COMPOSER_BOX, /^ *\/[\w:-]+ {2,}\S/, { gap: 14, without: LINE }],
      not: [{ tail: [ACTIVITY, BELOW_ACTIVITY, ...COMPOSER_BOX, 15] }],
    },
    {
      name: "composer-notice",
      state: "idle",
      title: /^$/,
      // A word of the CLI's own stands in the place of its footer.
      tail: [...COMPOSER_BOX, /^ {2,}(?!.*\besc\b)\S/i],
    },
    {
      name: "composer-bare",
      state: "idle",
      versions: "<2.1",
      title: /^$/,
      tail: [LINE, /^❯$/, LINE],
    },
    {
      name: "composer-box",
      state: "idle",
      versions: "<2.1",
      tail: [/^ ?╭─{8}/, /^ ?│ > /, 8, /^ ?╰─{8}/, 2],
    },
    {
      name: "composer-dashed",
      state: "idle",
      versions: "<2.1",
      tail: [/^ ?╌{8}/, /^ ?[>│] \S/, 8, /^ ?╌{8}/, 1],
    },
    {
      name: "welcome",
      state: "starting",
      tail: [/^Welcome to Claude Code v/, 34],
      not: [{ tail: [...COMPOSER_BOX, 3] }],
    },
    {
      name: "refused-as-root",
      state: "starting",
      tail: [/^--dangerously-skip-permissions cannot be used with root/, 2],
    },
  ],
};
