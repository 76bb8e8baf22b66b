// Screens as CLIs draw them that are not run here, or only in ways that a test cannot bring about: without a title, as a text has none.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { driverOf } from "../../../src/agentlet/drivers/registry.ts";
import { matchScreen, versionOn } from "../../../src/agentlet/states/match-screen.ts";
import type { AgentState } from "../../../src/protocol/agentlet-link.ts";
import type { Runtime } from "../../../src/protocol/runtimes.ts";

const LINE = "─".repeat(80);
const boxed = (...rows: string[]) => [
  ` ┌${LINE}┐`,
  ...rows.map((row) => ` │ ${row.padEnd(79)}│`),
  ` └${LINE}┘`,
];

/** Cursor's composer between half blocks, and what stands below it. */
const cursor = (typed: string, ...below: string[]) => [
  ` ${"▄".repeat(80)}`,
  `  → ${typed}`,
  ` ${"▀".repeat(80)}`,
  ...(below.length === 0 ? ["  Auto · 6.3% · 1 file edited", "  ~/code/proj · main"] : below),
];
const FOLLOW_UP = "Add a follow-up";
const STOP = `${FOLLOW_UP}${" ".repeat(40)}ctrl+c to stop`;
const ERROR = [
  "",
  "  Error: the limit of this month is reached",
  "  limitType: included",
  "  spendLimits: [1,2]",
];
const COMMAND = [
  LINE,
  " $  rm made.txt in .",
  " Run this command?",
  " Not in allowlist: rm",
  "  → Run (once) (y)",
  "    Add Shell(rm) to allowlist? (tab)",
  "    Run Everything (shift+tab)",
  "    Skip & tell the agent what to do instead (esc or n)",
];
const PLAN = boxed(
  "Suggested Plan",
  "",
  "Ready to build?",
  "",
  "   1. Yes, build locally (b)",
  " → 2. No, propose changes (p or Esc)",
);

/** Claude Code's composer with a status line of the person's own above its footer. */
const claude = (...above: string[]) => [
  ...above,
  LINE,
  "❯",
  LINE,
  "  a model | 12 % of the context | 1m",
  "  ⎇ main | ~/proj",
  "  ⏵⏵ bypass permissions on (shift+tab to cycle) · ← for agents",
];
const CLAUDE_NEW = [" ▐▛███▛█   Claude Code v2.1.288", "▝▜██████▀  a model", " ▝▝   ▝▝   ~/proj"];
/** The same with the footer of a CLI that has no agents. */
const claudeAlone = (...above: string[]) => [...above, LINE, "❯", LINE, "  ⏸ manual mode on"];
const openCode = (...above: string[]) => [
  ...above,
  "  ┃",
  "  ┃  Build  a-model",
  `  ╹${"▀".repeat(70)}`,
  "                                            tab agents  ctrl+p commands",
];
/** Cline's composer without its upper line, which a dialog may cover. */
const cline = (typed: string) => [
  typed,
  LINE,
  " a-model (100) $0.00                                      ○ Plan ● Act (Tab)",
  " proj",
  " Auto-approve all disabled (Shift+Tab)",
];
const clineBox = (...above: string[]) => [
  ...above,
  `╭${LINE.slice(2)}╮`,
  `│${" ".repeat(78)}│`,
  `╰${LINE.slice(2)}╯`,
  " / for commands · @ for files                                ○ Plan ● Act (Tab)",
  " a-model ████████ (120) | $0.000",
  " proj",
  " Auto-approve all disabled (Shift+Tab)",
];
const codex = (footer: string, ...above: string[]) => [
  ...above,
  "",
  "› Ask Codex to do anything",
  "",
  `  ${footer}`,
];

const screens: [Runtime, AgentState, string, string[]][] = [
  ["Cursor", "idle", "after a turn", ["  Done.", ...cursor(FOLLOW_UP)]],
  [
    "Cursor",
    "idle",
    "an error below the footer",
    cursor(FOLLOW_UP, "  Ask (shift+tab to cycle)", "  Auto", "  ~/proj", ...ERROR),
  ],
  [
    "Cursor",
    "idle",
    "the menu of commands below what is typed",
    cursor(
      "/",
      "   → /model [filter]    Select a model",
      "     /plan [prompt]     Make a plan",
      "     ↓ more below",
    ),
  ],
  [
    "Cursor",
    "idle",
    "a draft of two lines",
    [
      "  Shall I?",
      ` ${"▄".repeat(80)}`,
      "  → - one (y)",
      "    two",
      ` ${"▀".repeat(80)}`,
      "  Auto",
    ],
  ],
  [
    "Cursor",
    "idle",
    "a draft without half blocks",
    ["output", "  → not yet", "  1 task", "  Auto · 85%", "  ~/proj · main"],
  ],
  [
    "Cursor",
    "idle",
    "without half blocks",
    ["  2", "", "  → Add a follow-up", "  A model      Run Everything", "  /home/proj · main · #1"],
  ],
  [
    "Cursor",
    "idle",
    "a dialog quoted above the composer",
    [...COMMAND, "  That was it.", ...cursor(FOLLOW_UP)],
  ],
  [
    "Cursor",
    "idle",
    "a spinner quoted above the composer",
    ["    ⠴ Exploring 205s", "", "  It was a quote.", "  No more.", ...cursor(FOLLOW_UP)],
  ],
  [
    "Cursor",
    "busy",
    "a spinner and how to stop",
    ["  $ echo hi 0ms", " ⠀⠞ Running  71 tokens", ...cursor(STOP)],
  ],
  [
    "Cursor",
    "busy",
    "how to stop in the footer",
    ["⠀⠞ Thinking  28 tokens", ...cursor(FOLLOW_UP, "  Auto · Run Everything      ctrl+c to stop")],
  ],
  [
    "Cursor",
    "busy",
    "only a spinner above the composer",
    [" ⠠⠜ Reconnecting (attempt 1, 0s)", ...cursor(FOLLOW_UP)],
  ],
  [
    "Cursor",
    "busy",
    "only a spinner and a tip",
    [" ⠰⠰ Waiting  26.02k tokens", "    Tip: use it", ...cursor(FOLLOW_UP)],
  ],
  [
    "Cursor",
    "busy",
    "a quoted dialog, then a spinner",
    [...COMMAND, " ⠀⠞ Running  71 tokens", ...cursor(STOP)],
  ],
  [
    "Cursor",
    "permission",
    "a command",
    [...COMMAND, `${" ".repeat(60)}ctrl+r to review changed files`],
  ],
  [
    "Cursor",
    "permission",
    "a command, the last option chosen",
    COMMAND.map((row) => row.replace("→ Run", "  Run").replace("  Skip", "→ Skip")),
  ],
  [
    "Cursor",
    "permission",
    "a file",
    [LINE, " Delete file: made.txt", " Delete this file?", "  → Delete (y)", "    Keep (n)"],
  ],
  ["Cursor", "permission", "a plan, and an error below it", [...PLAN, ...ERROR]],
  [
    "Cursor",
    "permission",
    "a plan while it connects again",
    [...PLAN, " ⠠⠛ Reconnecting (attempt 1, 1s)"],
  ],
  [
    "Cursor",
    "permission",
    "a decision that the composer waits for",
    cursor("Waiting for decision (y/n/p)..."),
  ],
  [
    "Cursor",
    "question",
    "a question that the composer waits for",
    [
      " ⠰⠰ Waiting for you  2k tokens",
      ...cursor("Answer questions (Enter to select/next, Esc to skip)"),
    ],
  ],
  [
    "Cursor",
    "question",
    "what to do instead",
    [
      ...boxed("$  rm made.txt in ."),
      ...cursor(
        "Tell the agent what to do instead (Enter to send, empty to skip, Esc to cancel)   ctrl+c to stop",
        "",
      ),
    ],
  ],
  [
    "Cursor",
    "blocked",
    "a list",
    [
      LINE,
      "    All chats • This workspace",
      LINE,
      "  → A chat      Today",
      "    Another",
      LINE,
      "   1/2 • ↑/↓ to navigate • Enter to select • Esc to close",
    ],
  ],
  [
    "Cursor",
    "starting",
    "trust",
    boxed(
      "⚠ Workspace Trust Required",
      "",
      "▶ [a] Trust this workspace",
      "  [q] Quit",
      "",
      "Use arrow keys to navigate, Enter to select, or press the key shown",
    ),
  ],
  [
    "Cursor",
    "idle",
    "its first composer below the dialog that it left standing",
    [
      ...boxed("[a] Trust this workspace", "[q] Quit", "⏳ Trusting workspace..."),
      "  Cursor Agent",
      ...cursor("Plan, search, build anything"),
    ],
  ],

  [
    "ClaudeCode",
    "idle",
    "a status line of one's own",
    claude(...CLAUDE_NEW, "❯ do it", "⏺ Done.", "✻ Worked for 4s · done 12:26 PM"),
  ],
  [
    "ClaudeCode",
    "idle",
    "asked how it was",
    claude(
      "⏺ Done.",
      "✻ Baked for 25s · done 3:30 PM",
      "● How is Claude doing this session? (optional)",
      "  1: Bad    2: Fine   3: Good   0: Dismiss",
    ),
  ],
  [
    "ClaudeCode",
    "idle",
    "a command's words after a turn",
    claude(
      "⏺ Done.",
      "✻ Baked for 25s",
      "❯ /cost",
      "  ⎿  Total cost: $0.01",
      "     Total duration: 1s",
    ),
  ],
  [
    "ClaudeCode",
    "idle",
    "activity quoted in a turn that is over",
    claude("⏺ It showed:", "✻ Frosting… (3s)", "✻ Worked for 4s · done 12:26 PM"),
  ],
  [
    "ClaudeCode",
    "busy",
    "it tries again",
    claude(
      ...CLAUDE_NEW,
      "❯ do it",
      "✻ Connection refused (ECONNREFUSED) · Retrying in 14s · attempt 6/10",
    ),
  ],
  [
    "ClaudeCode",
    "busy",
    "it tries again while something is typed",
    [
      ...CLAUDE_NEW,
      "✻ 529 · retrying in 18s · attempt 6/10",
      LINE,
      "❯ go",
      LINE,
      "  ⏸ manual mode on",
    ],
  ],
  [
    "ClaudeCode",
    "busy",
    "hooks at the end of a turn",
    claude(
      "  and so on",
      "✳ Frosting… (running Stop hooks… 2/3 · 11s · ↓ 720 tokens)",
      "  ⎿  Tip: try it",
    ),
  ],
  [
    "ClaudeCode",
    "busy",
    "a list of tasks below the activity",
    claude(
      "⏺ Now.",
      "✶ Doing it… (4s)",
      ...Array.from({ length: 9 }, (_, at) => `     ◻ task ${at}`),
    ),
  ],
  [
    "ClaudeCode",
    "busy",
    "an answer that streams, no activity line",
    claude(...CLAUDE_NEW, "✻ Worked for 4s", "❯ again", "⏺ One", "  two", "  three"),
  ],
  [
    "ClaudeCode",
    "busy",
    "an answer that streams and fills the screen",
    claude(...Array.from({ length: 40 }, (_, at) => `  ${at} is a number.`)),
  ],
  [
    "ClaudeCode",
    "busy",
    "a background agent that it waits for",
    claude(
      "⏺ Started it.",
      "✻ Crunched for 14s · done 7:39 AM",
      "✻ Waiting for 1 background agent to finish",
    ),
  ],
  [
    "ClaudeCode",
    "permission",
    "a plan of 2.1.209",
    [
      `  ${LINE}`,
      "   Claude has written up a plan and is ready to execute. Would you like to proceed?",
      "",
      "   ❯ 1. Yes, and bypass permissions",
      "     2. Yes, manually approve edits",
      "     3. Tell Claude what to change",
      "        shift+tab to approve with this feedback",
      "   ctrl+g to edit in Nvim · ~/.claude/plans/a.md",
    ],
  ],
  [
    "ClaudeCode",
    "question",
    "tasks below its help",
    [
      LINE,
      " ☐ Next",
      "What should happen?",
      "❯ 1. This",
      "  2. That",
      LINE,
      "  3. Chat about this",
      "Enter to select · ↑/↓ to navigate · Esc to cancel",
      "  4 tasks (2 done, 2 open)",
      "  ✔ one",
      "  ✔ two",
      "  ◻ three",
      "  ◻ four",
    ],
  ],
  [
    "ClaudeCode",
    "blocked",
    "numbers without help",
    [
      "❯ /model",
      LINE,
      "  Switch model?",
      "  The next answer is slower",
      "  ❯ 1. Yes, switch",
      "    2. No, go back",
    ],
  ],
  ...(["idle", "busy"] as const).map((state): [Runtime, AgentState, string, string[]] => [
    "ClaudeCode",
    state,
    `commands below the composer while it is ${state}`,
    [
      ...CLAUDE_NEW,
      ...(state === "busy" ? ["✢ Skedaddling…"] : []),
      LINE,
      "❯ /",
      LINE,
      "/add-dir             Add a new working directory",
      "/agents              Manage agents",
    ],
  ]),
  [
    "ClaudeCode",
    "blocked",
    "a dialog of 2.1.100 that a command asked for",
    [
      "❯ /model",
      "▔".repeat(40),
      "  Select model",
      "  ❯ 5. a-model ✔           Custom model",
      "  Enter to confirm · Esc to exit",
    ],
  ],
  [
    "ClaudeCode",
    "blocked",
    "help of 2.1.100",
    ["❯ /help", "──Claude Code v2.1.100─ general ─ commands ─────", "  Words", "  Esc to cancel"],
  ],
  [
    "ClaudeCode",
    "blocked",
    "a box of 2.0 that says how to leave it",
    ["╭────╮", "│ Manage MCP servers │", "│ ❯ 1. agentkube │", `╰${LINE}╯`, "   Esc to exit"],
  ],
  [
    "ClaudeCode",
    "blocked",
    "a panel higher than the terminal",
    [
      "❯ /model",
      "  ⎿  Kept model",
      "▔".repeat(40),
      "  Select model",
      "  ❯ 6. a-model ✔      Custom model",
      "  ● High effort (default) ←/→ to",
      "  adjust                               ↓",
    ],
  ],
  [
    "ClaudeCode",
    "blocked",
    "a login that a command asked for",
    [
      "▔".repeat(40),
      "  Login",
      "  Select login method:",
      "  ❯ 1. Claude account",
      "    2. Console",
    ],
  ],
  [
    "ClaudeCode",
    "exited",
    "a farewell over the composer's line",
    [
      LINE,
      "❯",
      `Resume this session with:${LINE}`,
      "claude --resume 08f559c2-2a27-48c3-b96e-1a3dd5a7ffcc",
    ],
  ],
  [
    "ClaudeCode",
    "starting",
    "its first question",
    [
      "Welcome",
      " Choose the text style that looks best with your terminal",
      " ❯ 1. Dark mode",
      "   2. Light mode",
      "  1  function greet() {",
    ],
  ],
  [
    "ClaudeCode",
    "starting",
    "trust in a box",
    [
      "╭────╮",
      "│ Do you trust the files in this folder? │",
      "│ ❯ 1. Yes, proceed │",
      "│   2. No, exit │",
      "╰────╯",
      "   Enter to confirm · Esc to exit",
    ],
  ],
  [
    "ClaudeCode",
    "permission",
    "a plan in a box",
    [
      "╭────╮",
      "│ Would you like to proceed? │",
      "│ ❯ 1. Yes, and auto-accept edits │",
      "│   2. No, keep planning │",
      "╰────╯",
    ],
  ],
  [
    "ClaudeCode",
    "idle",
    "numbers that are typed",
    [LINE, "❯ 1. Yes", "  2. No", LINE, "  ? for shortcuts"],
  ],

  ["ClaudeCode", "idle", "a turn of a version that marks no ends", claudeAlone("❯ hi", "● Hello.")],
  [
    "ClaudeCode",
    "busy",
    "a turn without an end, after one that has it",
    claudeAlone("● Hello.", "✻ Worked for 4s", "❯ again", "● One", "  two"),
  ],
  ...[
    "  ⎿  Rejected write to w.txt",
    "● API Error: 400 scripted",
    "● Declined to answer questions",
  ].map((last): [Runtime, AgentState, string, string[]] => [
    "ClaudeCode",
    "idle",
    `a turn that "${last.trim()}" ended`,
    claudeAlone("✻ Worked for 4s", "❯ again", "● Now", last),
  ]),
  [
    "ClaudeCode",
    "idle",
    "a command for the shell that is typed",
    [...CLAUDE_NEW, LINE, "! ls", LINE, "  ! for shell mode"],
  ],
  [
    "ClaudeCode",
    "idle",
    "help below the composer",
    [
      ...CLAUDE_NEW,
      LINE,
      "❯",
      LINE,
      "  ! for     esc esc to     ctrl+shift+",
      "  shell     clear input    _ to undo",
      "  mode      shift+tab to   ctrl+z to",
    ],
  ],
  [
    "ClaudeCode",
    "idle",
    "help of 2.0",
    [
      LINE,
      ">",
      LINE,
      "  ! for bash mode      double tap esc to clear input   ctrl + _ to undo",
      "  / for commands       shift + tab to auto-accept editsctrl + z to suspend",
      "  @ for file paths     ctrl + o for verbose output     ctrl + v to paste",
      "  # to memorize        ctrl + t to show todos          images",
      "                       newline",
    ],
  ],
  [
    "ClaudeCode",
    "idle",
    "a notice in the footer's place",
    [LINE, "❯", LINE, "   Claude Code has switched from npm to native installer. Run it"],
  ],

  [
    "OpenCode",
    "busy",
    "a turn whose footer does not tell",
    openCode("     one two", "     ▣  Build · a-model                                LSP"),
  ],
  [
    "OpenCode",
    "idle",
    "a turn that failed",
    openCode("     one two", "  ┃", "  ┃  401: no key", "  ┃", "     ▣  Build · a-model"),
  ],
  [
    "OpenCode",
    "idle",
    "a turn whose question was dismissed",
    openCode("     → Asked 2 questions", "     ▣  Build · a-model"),
  ],
  [
    "OpenCode",
    "permission",
    "a dialog of 1.0, in the transcript",
    [
      `  ┃  $ sleep 6${" ".repeat(60)}┃`,
      `  ┃  Permission required to run this tool:${" ".repeat(32)}┃`,
      `  ┃${" ".repeat(71)}┃`,
      `  ┃  enter accept  a accept always  d deny${" ".repeat(32)}┃`,
      `  ┃${" ".repeat(71)}┃`,
      "     ▣  Build · a-model",
      ...openCode().slice(0, -1),
      "   ⬝⬝⬝⬝⬝⬝⬝⬝  esc interrupt                   tab switch agent  ctrl+p commands",
      "  ~/proj       ◉ 1 Permission  • 0 LSP  ⊙ 1 MCP  /status",
    ],
  ],
  [
    "OpenCode",
    "permission",
    "a dialog higher than the terminal",
    ["  ┃  # A title", "  ┃", "  ┃  △ Permission required", "  ┃    ← Access external", "  ┃"],
  ],
  [
    "OpenCode",
    "question",
    "a question higher than the terminal",
    ["  ┃  # A title", "  ┃", "  ┃  Which colour?", "  ┃", "  ┃  1. Red", "  ┃     warm"],
  ],
  [
    "OpenCode",
    "blocked",
    "a dialog over its composer",
    [
      "              Themes                                           esc",
      "              Search",
      "  ┃           aura",
      "  ┃  Ask      ayu",
      "  ╹▀▀▀▀▀▀     catppuccin-frappe                                    ▀▀▀",
      "              catppuccin-macchiato                                    commands",
    ],
  ],
  [
    "OpenCode",
    "blocked",
    "a dialog in a narrow terminal",
    ["     Select agent               esc", "     Search", "  ┃  ● build", "   ╹▀▀▀  plan"],
  ],
  [
    "OpenCode",
    "idle",
    "keys that are said",
    openCode("     Cancel it            esc", "     ▣  Build · a-model · 7.2s"),
  ],
  [
    "OpenCode",
    "blocked",
    "a dialog above its composer",
    openCode(
      "          Select model                                     esc",
      "          /sessions",
    ),
  ],
  [
    "OpenCode",
    "busy",
    "a footer that a narrow terminal cuts",
    [...openCode().slice(0, -1), "   ⬝⬝⬝⬝⬝⬝⬝⬝ 529 [retrying in 4s attempt #2]"],
  ],
  [
    "OpenCode",
    "busy",
    "a footer that a narrow terminal breaks",
    [
      ...openCode().slice(0, -1),
      "   ■■■■⬝⬝⬝⬝  esc        tab agentsctrl+p",
      "             interrupt            commands",
    ],
  ],
  [
    "OpenCode",
    "idle",
    "a turn that is over",
    openCode("     one two", "     ▣  Build · a-model · 7.2s"),
  ],
  [
    "OpenCode",
    "exited",
    "the farewell of 1.1",
    ["  █▀▀█  A title", "  █  █  opencode -s ses_dd39de83affeLoN5Jpnq7DwWMq", "  ▀▀▀▀"],
  ],

  ["Codex", "idle", "what is typed, above the footer of 0.98", codex("120 used", "• Done.")],
  [
    "Codex",
    "busy",
    "a status line above a footer that nobody knows",
    codex("something new", "› do it", "• Working (2s • esc to interrupt)"),
  ],
  [
    "Codex",
    "idle",
    "a menu of commands in the footer's place",
    [
      "• Hello there.",
      "› /",
      "  /model      choose a model",
      "  /approvals  choose what it can do",
    ],
  ],
  [
    "Codex",
    "idle",
    "keys in the footer's place",
    [
      "• Hello there.",
      "› Implement {feature}",
      "  / for commands                          shift + enter for newline",
      "  @ for file paths                        ctrl + v to paste images",
      "                                          ctrl + t to view transcript",
    ],
  ],
  ["Codex", "idle", "Esc was pressed", codex("esc again to edit previous message", "• Done.")],
  ["Codex", "idle", "a status line that is a directory", codex("~/code/proj")],
  [
    "Codex",
    "idle",
    "its logo above the first composer",
    codex("  ← for agents", ...Array.from({ length: 14 }, () => `${" ".repeat(40)}⢰⣿⣿⡟⠁`)),
  ],
  [
    "Codex",
    "busy",
    "a turn without an end, after one that has it",
    codex("a-model · ~/proj", "• Hello.", "  done 4:07 AM", "› again", "• One", "  two"),
  ],
  [
    "Codex",
    "idle",
    "a prompt that stays above what a command says",
    codex(
      "  ← for agents",
      "› [[say Hello there.]]",
      "  Token usage:   120 total",
      "  Limits:   none",
    ),
  ],
  [
    "Codex",
    "blocked",
    "boxes to tick above a preview of the footer",
    [
      "  Configure Status Line",
      "› [x] Use theme colors      Apply color…",
      "  [x] current-dir           Current wor…",
      "  fake-model default · /tmp/proj",
      "  space toggle · ←/→ reorder · enter",
      "  save · esc cancel",
    ],
  ],
  [
    "Codex",
    "blocked",
    "help of keys that goes on in a next row",
    ["  Features", "› [ ] One", "  [ ] Two", "  space toggle · enter save · esc save/", "  close"],
  ],
  [
    "Codex",
    "blocked",
    "sessions and more keys",
    [
      " Resume a previous session",
      "  › 1m ago      [[say Hello there.]]",
      "───────────────────────── 1 / 1 · 100% ─",
      " enter resume   ^a archive   esc exit",
      " ^o comfy   ^t preview   ↑/↓ browse",
    ],
  ],
  [
    "Codex",
    "busy",
    "what is typed waits behind a turn",
    [
      "› again",
      "• One",
      "› and more",
      "  a-model default · /tmp/run-",
      "  1/proj",
      "  tab to queue message",
    ],
  ],
  [
    "Codex",
    "permission",
    "a dialog whose help goes on in a next row",
    [
      "  Would you like to run the following",
      "  command?",
      "  $ sleep 4",
      "› 1. Yes, proceed (y)",
      "  2. Yes, and don't ask again for",
      "     commands that start with `sleep 4;",
      "  Press enter to confirm or esc to",
      "  cancel",
    ],
  ],
  [
    "Codex",
    "idle",
    "a dialog quoted in an answer",
    codex(
      "a-model high · ~/proj",
      "› why?",
      "• It showed:",
      "    Command Approval Required",
      "    [a] Accept  [d] Decline",
      "  and waited.",
    ),
  ],
  [
    "Codex",
    "idle",
    "a refused command",
    codex(
      "a-model · ~/proj",
      "• Failed (exit 1) touch a",
      "  └ (no output)",
      "■ Conversation interrupted - use /feedback",
    ),
  ],
  [
    "Codex",
    "busy",
    "a tool was the last to speak",
    codex(
      "/home/proj · main · a-model high · Context 70% left",
      "• Waiting for agents",
      "• Finished waiting",
      "  └ No agents completed yet",
    ),
  ],
  [
    "Codex",
    "blocked",
    "a panel without a list",
    [
      "  Hooks",
      "  Event        Installed",
      "  PreToolUse   0",
      "",
      "  Press enter to view hooks; esc to close",
    ],
  ],
  [
    "Codex",
    "blocked",
    "boxes to tick",
    [
      "  Experimental features",
      "› [ ] Memories",
      "  [ ] Proxy",
      "  Press space to select or enter to save for next conversation",
    ],
  ],

  ...[
    "            Space toggle selected, Esc to go back",
    "            Press any key to cancel",
    "─  ←/→ switch tabs, ↑/↓ navigate, Tab/Enter select, Esc close                  ─",
  ].map((help): [Runtime, AgentState, string, string[]] => [
    "Cline",
    "blocked",
    `a dialog over its composer, with ${help.trim()}`,
    [" * Hello there.", "            A title", help, ...cline("❯ Ask anything...")],
  ]),
  [
    "Cline",
    "idle",
    "a task of 2.18 that is done",
    clineBox(
      " ⏺ Task completed",
      "           Start New Task (1)                          Exit (2)",
    ),
  ],
  ["Cline", "idle", "the composer of 2.18", clineBox(" ⏺ Done.")],
  [
    "Cline",
    "busy",
    "the spinner of 2.18",
    clineBox(" ⏺ one two", " ⠼ Acting... (2s · esc to interrupt)", " 💡 Tip: Press Up"),
  ],
  [
    "Cline",
    "blocked",
    "two ways to go on in 2.18",
    clineBox(
      " ⏺ Error: no key",
      "               Retry (1)                          Start New Task (2)",
    ),
  ],
  [
    "Cline",
    "idle",
    "words of a dialog that are said",
    [" * It says: Press any key to cancel, Esc to go back", LINE, ...cline("❯ Ask anything...")],
  ],
  [
    "Cline",
    "idle",
    "a menu that a low terminal cuts off",
    [LINE, "❯ /", LINE, "╭────╮", "│ ❯ /settings   Modify │", "│   /model      Switch │"],
  ],

  [
    "Custom",
    "permission",
    "a question with a third answer, and a prompt below it",
    ["Allow this action? [y/n/t]:", ">"],
  ],
  ["Custom", "busy", "a spinner in the last row", ["> How many?", "⠋ Thinking..."]],
  [
    "Custom",
    "busy",
    "words that say which key ends the turn",
    ["╰────╯", " ∿ Waiting for response...  Esc to cancel"],
  ],
];

/** Help that stands there whatever the program does. */
const HELP = [
  "╭────╮",
  "│ › Try it │",
  "╰────╯",
  " Type / for commands • ↑↓ for history • Esc/Ctrl+C to interrupt",
];

suite("drawn screens", () => {
  for (const [runtime, state, what, rows] of screens)
    test(`${runtime}: ${what} is ${state}`, () => {
      const { rules } = driverOf(runtime);
      const view = { rows, title: "", cursor: null };

      const match = matchScreen(rules, view, versionOn(rules, view));

      assert.equal(match?.state, state, `by ${match?.rule.name}`);
    });

  test("Custom: help that always stands there says nothing", () => {
    const { rules } = driverOf("Custom");

    assert.equal(matchScreen(rules, { rows: HELP, title: "", cursor: null }, null), null);
  });

  test("Cursor: an option is answered by the key that stands behind it", () => {
    const { rules } = driverOf("Cursor");
    const asked = (rows: string[]) => matchScreen(rules, { rows, title: "", cursor: null }, null);

    assert.deepEqual(
      asked(COMMAND)?.ask?.options.map(({ key }) => key),
      ["y", "tab", "shift+tab", "esc or n"],
    );
    assert.deepEqual([asked(COMMAND)?.rule.keys?.allow, asked(PLAN)?.rule.keys?.allow], ["y", "b"]);
  });
});
