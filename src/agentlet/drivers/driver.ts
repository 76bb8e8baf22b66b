import type { ProgramExit } from "../../kit/init-channel.ts";
import type { RunEnd } from "../../protocol/outcome.ts";
import type { Mode } from "../../protocol/agent-manifest.ts";
import type { RunSpec } from "../../protocol/run-spec.ts";
import type { Report } from "../report-socket.ts";
import type { ToolClaim } from "../states/evidence.ts";
import type { RuleSet } from "../states/screen-rule.ts";
import type { Signal } from "../states/signal.ts";

/** Where the CLI finds tools and model, seen from inside zone A. */
export interface Gateway {
  /** http://127.0.0.1:PORT */
  url: string;
  agentToken: string;
  /**
   * The model key itself, with `agentToken.delivery: env` only: it goes into the variable that the CLI reads, and the CLI speaks
   * to the provider (or `spec.modelEndpoint`) directly. Without it the gateway takes `agentToken` and puts the key in.
   */
  modelKey?: string;
}

/** What `prepare` makes a launch of. */
export interface LaunchInput {
  spec: RunSpec;
  gateway: Gateway;
  /** go on with this session of the CLI, as `sessionOf` told it; null begins a new one */
  resume: string | null;
}

/** The home directory inside zone A. */
export const HOME = "/home/agent";

/** A goal up to this size goes on argv or into the environment; a longer one is only in the file. */
export const MAX_INLINE_GOAL_BYTES = 100 * 1024;

/** Where the goal lies as a file, for any runtime. */
export const GOAL_FILE = `${HOME}/.agentkube/goal`;

/** How a CLI is started: what the driver adds to what every CLI gets. */
export interface Launch {
  argv: string[];
  env: Record<string, string>;
  files: { path: string; data: Buffer; mode: number }[];
  /** a prompt that the CLI takes only in its own terminal: given once it is idle */
  prompt?: string;
}

/** Reads the outcome out of a one-shot CLI's structured output. */
export interface Judge {
  push(bytes: Buffer): void;
  /** Settles when the output said its result; the CLI should leave soon. Another promise once the CLI took its result back. */
  readonly result: Promise<void>;
  /** The end of the run; null when the exit alone decides. `stopped`: it did not leave by itself after its result. */
  verdict(exit: ProgramExit, stopped: boolean): RunEnd | null;
}

/** What of HOME holds a session of the CLI, and how a later run may go on with it. */
export interface DriverSession {
  /** patterns below HOME of this session's own files: no configuration, no token, nothing that a CLI runs */
  files(session: string): readonly string[];
  /** what grows beside these files while the CLI runs, such as a database's log, and is part of none of them at the end */
  readonly logs?: readonly string[];
  /** the name of every run's session, when the CLI has none of its own that a report could tell */
  readonly name?: string;
  /** the run's token is in its files, and a later run needs its own there */
  readonly holdsToken?: true;
  /** modes in which the CLI can be started with a session */
  readonly modes: readonly Mode[];
}

/** How one runtime is started, watched and judged. */
export interface Driver {
  prepare(input: LaunchInput): Launch;
  /** What its screens and titles say, as data; `genericRules` when nothing is known of them. */
  readonly rules: RuleSet;
  /** Null when the exit status is all there is. */
  openJudge(spec: RunSpec): Judge | null;
  /** What a report of its hooks, plug-ins or transcript claims; null when it says nothing of the state. Absent without hooks. */
  signalOf?(report: Report): Signal | null;
  /** What a report says of the tool in use, but that a turn's end is its end; null when nothing. Absent when none tells. */
  toolOf?(report: Report): ToolClaim | null;
  /** The CLI's own name for the session that a report belongs to; null when it does not say. */
  sessionOf?(report: Report): string | null;
  /** Absent when nothing of a session is kept, and `resume` of `prepare` is always null. */
  readonly session?: DriverSession;
}

/** The goal as a file of zone A; empty without a goal. */
export function goalFiles(spec: RunSpec): Launch["files"] {
  if (spec.agent.goal === null) return [];
  return [{ path: GOAL_FILE, data: Buffer.from(spec.agent.goal), mode: 0o644 }];
}

/** True when the goal is short enough for argv and environment. */
export function isInlineGoal(goal: string): boolean {
  return Buffer.byteLength(goal) <= MAX_INLINE_GOAL_BYTES && !goal.includes("\0");
}

/** The goal as the words of a prompt: itself, or where to read it. */
export function promptOf(goal: string): string {
  return isInlineGoal(goal) ? goal : `Read the file ${GOAL_FILE} and do what it says.`;
}

/** True when the Agent has a policy that may ask about or deny edits of files too, which are else made without asking. */
export function isAskedForAll({ approvals }: RunSpec["agent"]): boolean {
  return approvals !== undefined && approvals !== "allow";
}

/** The argv that runs `argv` with the goal's file as its standard input, byte for byte. */
export function withGoalOnStdin(argv: readonly string[]): string[] {
  return ["/bin/sh", "-c", 'exec "$@" < "$0"', GOAL_FILE, ...argv];
}

/** A file of HOME that only the agent reads. */
export function homeFile(path: string, content: object | string, mode = 0o600): Launch["files"][0] {
  const text = typeof content === "string" ? content : JSON.stringify(content);
  return { path: `${HOME}/${path}`, data: Buffer.from(text), mode };
}
