import { isUtf8 } from "node:buffer";
import { open, readFile, stat } from "node:fs/promises";
import type { AgentState, StateChannel } from "../protocol/agentlet-link.ts";
import { bytesOfEvent, readAsciicast } from "../protocol/asciicast.ts";
import { PlatformError } from "../kit/platform-error.ts";
import { Screen } from "../kit/screen.ts";
import { RecordedClock } from "./states/clock.ts";
import { matchScreen, versionOn } from "./states/match-screen.ts";
import type { ScreenMatch } from "./states/match-screen.ts";
import type { RuleSet } from "./states/screen-rule.ts";
import { ScreenWatch } from "./states/screen-watch.ts";
import { viewOf } from "./terminal-state.ts";
import type { ScreenView } from "./terminal-state.ts";

/** A state that a recording or a screen shows: since when, and what said so. */
export interface ExplainedState {
  /** milliseconds since the start of the recording; 0 for a screen's text */
  atMs: number;
  state: AgentState;
  channel: StateChannel;
  rule: string;
}

/** What a file shows, and what of it could not be read. */
export interface Explanation {
  states: ExplainedState[];
  problems: string[];
}

/** Larger texts are no screen. */
const MAX_TEXT_BYTES = 1024 * 1024;
/** Larger terminals are none of ours. */
const MAX_CELLS = 1000;
/** How long the screen at a recording's end is taken to stand. */
const LAST_SCREEN_MS = 1000;

/**
 * What the rules say about a file: a recording's states in order of time, or the one state of a screen's text. Throws
 * `bad_recording` and `bad_screen` at a file that is neither.
 */
export async function explain(path: string, rules: RuleSet): Promise<Explanation> {
  const head = (await readHead(path)).toString("utf8");
  return path.endsWith(".cast") || HEADER.test(head)
    ? await explainCast(path, rules)
    : { states: [await explainText(path, rules)], problems: [] };
}

/** How a recording begins, whatever its file is called; a screen may begin with JSON of another kind. */
const HEADER = /^\s*\{\s*"(?:version|term|width|height|timestamp)"\s*:|^\s*\{\s*".*\}\s*(?:\n\[|$)/;

async function readHead(path: string): Promise<Buffer> {
  await using file = await open(path, "r");
  const { bytesRead, buffer } = await file.read(Buffer.alloc(256), 0, 256, 0);
  return buffer.subarray(0, bytesRead);
}

/** The line that a labelled screen may begin with; its title, cursor and modes count, its label does not. */
const LABEL = /^# .*\bcursor=(\d+),(\d+).*\btitle="((?:[^"\\]|\\.)*)"(.*)$/;

async function explainText(path: string, rules: RuleSet): Promise<ExplainedState> {
  const text = await readScreen(path);
  const [first = "", ...rest] = text.split(/\r?\n/);
  const label = LABEL.exec(first);
  const rows = label === null ? [first, ...rest] : rest;
  const view: ScreenView = rows.some((row) => row.includes("\x1b"))
    ? await drawn(rows)
    : { rows, title: "", cursor: null };
  if (label !== null) {
    view.title = (label[3] ?? "").replaceAll(/\\(.)/g, "$1");
    view.cursor = { row: Number(label[1]), col: Number(label[2]) };
    const mode = (name: string) =>
      new RegExp(`\\b${name}=(true|false)\\b`).exec(label[4] ?? "")?.[1];
    const [paste, hidden] = [mode("paste"), mode("hidden")];
    if (paste !== undefined) view.takesPaste = paste === "true";
    if (hidden !== undefined) view.cursorHidden = hidden === "true";
  }
  const match = matchScreen(rules, view, versionOn(rules, view));
  if (match !== null)
    return { atMs: 0, state: match.state, channel: match.channel, rule: match.rule.name };
  const isEmpty = rows.every((row) => row.trim() === "");
  return {
    atMs: 0,
    state: isEmpty ? "starting" : "unknown",
    channel: "screen",
    rule: isEmpty ? "the screen is empty" : "no rule matches",
  };
}

async function readScreen(path: string): Promise<string> {
  const { size } = await stat(path);
  if (size > MAX_TEXT_BYTES)
    throw badScreen(`Expected a screen of at most 1 MiB in "${path}", got ${size} bytes`);
  const bytes = await readFile(path);
  if (!isUtf8(bytes) || bytes.includes(0))
    throw badScreen(`Expected the text of a screen in "${path}", got bytes that are no text`);
  return bytes.toString("utf8");
}

function badScreen(message: string): PlatformError {
  return new PlatformError("bad_screen", message, {
    fix: "give a .cast file, or the text of one screen",
  });
}

/** A text with control sequences, as a terminal shows it. */
async function drawn(rows: string[]): Promise<ScreenView> {
  const height = Math.min(1000, Math.max(40, rows.length + 1));
  using screen = new Screen({ cols: 400, rows: height }, 0);
  await new Promise<void>((resolve) => screen.write(rows.join("\r\n"), resolve));
  const view = viewOf(screen);
  return { rows: view.rows, title: view.title, cursor: null };
}

async function explainCast(path: string, rules: RuleSet): Promise<Explanation> {
  const problems: string[] = [];
  const clock = new RecordedClock();
  const states = new StateList();
  let screen: Screen | null = null;
  let watch: ScreenWatch | null = null;
  let isOver = false;
  for await (const item of readAsciicast(path)) {
    if (item.kind === "problem") {
      if (screen === null) throw badRecording(path, item.problem);
      problems.push(`line ${item.line}: ${item.problem}`);
    }
    if (item.kind === "header") {
      const { cols, rows } = item.header;
      if (!isTerminal(cols, rows)) throw badRecording(path, sizeProblem(cols, rows));
      const shown = new Screen({ cols, rows }, 0);
      screen = shown;
      watch = new ScreenWatch({
        rules,
        clock,
        view: () => viewOf(shown),
        outputOffset: () => 0,
        signal: () => undefined,
        onLook: (match, sinceMs, rests) => states.look(match, sinceMs, rests),
      });
    }
    if (item.kind !== "event" || screen === null) continue;
    const { timeUs, code, data } = item.event;
    const atMs = timeUs / 1000;
    clock.advanceTo(atMs);
    if (code === "o") {
      const shown = screen;
      await new Promise<void>((resolve) => shown.write(bytesOfEvent(item.event), resolve));
      watch?.touched();
    } else if (code === "r") {
      const [cols = 0, rows = 0] = data.split("x").map(Number);
      if (isTerminal(cols, rows)) screen.resize({ cols, rows });
      else problems.push(`line ${item.line}: ${sizeProblem(cols, rows)}`);
    } else if (code === "x") {
      isOver = true;
      states.end();
      states.add({ atMs, state: "exited", channel: "process", rule: `exit status ${data}` });
      break;
    }
  }
  if (!isOver) clock.advanceTo(clock.now() + LAST_SCREEN_MS);
  states.end();
  watch?.[Symbol.dispose]();
  screen?.[Symbol.dispose]();
  return { states: states.list, problems };
}

function isTerminal(cols: number, rows: number): boolean {
  return cols >= 1 && rows >= 1 && cols <= MAX_CELLS && rows <= MAX_CELLS;
}

function sizeProblem(cols: number, rows: number): string {
  return `Expected a terminal of at most ${MAX_CELLS}x${MAX_CELLS}, got ${cols}x${rows}`;
}

function badRecording(path: string, problem: string): PlatformError {
  return new PlatformError("bad_recording", `Cannot read "${path}" as a recording: ${problem}`, {
    fix: "give an asciicast of version 2 or 3, or the text of one screen",
  });
}

/** The states that looks have shown; a state begins when the screen that shows it began to stand. */
class StateList {
  readonly list: ExplainedState[] = [
    { atMs: 0, state: "starting", channel: "process", rule: "the recording begins" },
  ];
  #isKnown = false;
  /** A farewell that nothing has followed yet: words of a CLI that goes on afterwards were none. */
  #farewell: ExplainedState | null = null;

  look(match: ScreenMatch | null, sinceMs: number, rests: boolean): void {
    const needsRest = match === null || match.state === "idle" || match.state === "exited";
    this.#isKnown ||= match !== null;
    if (!this.#isKnown || (needsRest && !rests)) return;
    if (match?.state === "exited") {
      this.#farewell ??= {
        atMs: sinceMs,
        state: "exited",
        channel: match.channel,
        rule: match.rule.name,
      };
      return;
    }
    if (match === null) this.end();
    this.#farewell = null;
    this.add(
      match === null
        ? { atMs: sinceMs, state: "unknown", channel: "screen", rule: "no rule matches" }
        : { atMs: sinceMs, state: match.state, channel: match.channel, rule: match.rule.name },
    );
  }

  /** Nothing that its program would show follows. */
  end(): void {
    if (this.#farewell !== null) this.add(this.#farewell);
    this.#farewell = null;
  }

  add(state: ExplainedState): void {
    const last = this.list.at(-1);
    if (last?.state === state.state && (last.channel !== "process" || state.state === "exited"))
      return;
    this.list.push({ ...state, atMs: Math.round(Math.max(last?.atMs ?? 0, state.atMs)) });
  }
}
