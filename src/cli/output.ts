import type { Writable } from "node:stream";
import { errorFacts, PlatformError } from "../kit/platform-error.ts";
import { ExitCode } from "../protocol/outcome.ts";
import { oneLine, paintedOnly, shownJson, shownMessage } from "./human.ts";

/** A stream that may be a terminal. */
export type TerminalOutput = Writable &
  Partial<Pick<NodeJS.WriteStream, "isTTY" | "columns" | "rows">>;

/**
 * Where a verb writes: results to stdout, everything about them to stderr. Names, messages and claims of other programs get into lines, notes
 * and errors: nothing in them but our own colours acts on a terminal. What is poured to stdout passes person-terminal.ts.
 */
export interface Output {
  readonly stdout: TerminalOutput;
  readonly stderr: TerminalOutput;
  /** `--json` was given: the last line of stdout is one JSON document */
  readonly json: boolean;
  /** stdout is a terminal that shows colours (`NO_COLOR` is respected) */
  readonly color: boolean;
  readonly interactive: boolean;
  /** A line of the result, for people. */
  line(text: string): void;
  /** A line about the work, for people; on stderr. */
  note(text: string): void;
  /** The one JSON document of `--json`. */
  document(value: unknown): void;
  /** The same after bytes of a program, which may have ended within a line. */
  documentAfterOutput(value: unknown): void;
  /** Says what went wrong, where and what to do; returns the exit code. */
  fail(error: unknown): number;
  /** Wraps text in an SGR sequence when colours are on. */
  paint(style: Style, text: string): string;
}

const SGR = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
} as const;
export type Style = keyof typeof SGR;

/** A mistake in the words of the command line: exit code 2. */
export class UsageError extends PlatformError {
  constructor(message: string, fix?: string) {
    super("usage", message, fix === undefined ? {} : { fix });
  }
}

/** Codes of `PlatformError` that mean: the words or the manifest are wrong. */
const USAGE_CODES = new Set([
  "usage",
  "invalid_manifest",
  "invalid_tool",
  "unknown_run",
  "secret_missing",
  "tool_invalid",
  "package_missing",
  "package_invalid",
  "image_invalid",
  "invalid_image",
]);
/** Codes that mean: refused by policy, or this machine lacks a capability. */
const REFUSED_CODES = new Set([
  "refused",
  "policy",
  "unsupported",
  "runtime_missing",
  "sandbox_unavailable",
  "native_missing",
  "secret_exposed",
  "arguments_invalid",
  "data_full",
  "manager_locked",
  "already_running",
]);

/** The exit code for an error: 2 for usage and manifests, 3 for policy and missing capability, else 1. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof PlatformError)) return ExitCode.failed;
  return exitCodeOfError(error.code);
}

/** The same for the code alone, as it arrives from another process. */
export function exitCodeOfError(code: string): number {
  if (USAGE_CODES.has(code)) return ExitCode.usage;
  if (REFUSED_CODES.has(code)) return ExitCode.refused;
  return ExitCode.failed;
}

/** Makes the writer of a verb. */
export function createOutput(options: {
  stdout: TerminalOutput;
  stderr: TerminalOutput;
  json: boolean;
  color: boolean;
  interactive: boolean;
}): Output {
  const { stdout, stderr, json, color, interactive } = options;
  const documentOf = (value: unknown): string => `${shownJson(JSON.stringify(value))}\n`;
  return {
    stdout,
    stderr,
    json,
    color,
    interactive,
    line: (text) => void stdout.write(`${paintedOnly(text)}\n`),
    note: (text) => void stderr.write(`${paintedOnly(text)}\n`),
    document: (value) => void stdout.write(documentOf(value)),
    documentAfterOutput: (value) => void stdout.write(`\n${documentOf(value)}`),
    fail: (error) => {
      const facts = errorFacts(error);
      stderr.write(`agentkube: ${shownMessage(facts.message)}\n`);
      if (facts.path !== undefined && !facts.message.includes(facts.path))
        stderr.write(`  path: ${oneLine(facts.path)}\n`);
      if (facts.fix !== undefined) stderr.write(`  fix:  ${shownMessage(facts.fix)}\n`);
      if (json) stdout.write(documentOf({ error: facts }));
      return exitCodeOf(error);
    },
    paint: (style, text) => {
      const [on, off] = SGR[style];
      return color ? `\u001B[${on}m${text}\u001B[${off}m` : text;
    },
  };
}
