import type { ProgramExit } from "../../kit/init-channel.ts";
import { isTooDeep } from "../../kit/json-nesting.ts";
import { LineSplitter } from "../../kit/line-splitter.ts";
import type { RunEnd } from "../../protocol/outcome.ts";
import type { Judge } from "./driver.ts";

/** Longer lines are no result line that we would read. */
const MAX_LINE_BYTES = 4 * 1024 * 1024;

/** What one line of a CLI's structured output says of the run's result. */
export type LineResult =
  | { kind: "done" }
  /** `loginLost`: the model's service refused the key */
  | { kind: "error"; cause: string; loginLost?: boolean }
  /** what a line before this said is not the last word */
  | { kind: "more" };

type FinalResult = Exclude<LineResult, { kind: "more" }>;

export interface StructuredOutput {
  /** for messages */
  cli: string;
  /** Null for a line that says nothing of the result. */
  read: (line: Record<string, unknown>) => LineResult | null;
}

/**
 * Judges a one-shot CLI by its lines of JSON and its exit status together: success needs both, the last result counts, and an
 * exit of 0 without a result is a failure.
 */
export function openStructuredJudge({ cli, read }: StructuredOutput): Judge {
  let said = Promise.withResolvers<void>();
  const splitter = new LineSplitter(MAX_LINE_BYTES);
  let result: FinalResult | null = null;

  const endLine = (bytes: Buffer | null) => {
    const line = bytes === null ? null : objectOf(bytes);
    const told = line === null ? null : read(line);
    if (told === null) return;
    if (told.kind !== "more") said.resolve();
    else if (result !== null) said = Promise.withResolvers();
    result = told.kind === "more" ? null : told;
  };

  return {
    get result() {
      return said.promise;
    },
    push: (bytes) => splitter.push(bytes, endLine),
    verdict: (exit, stopped) => verdictOf(cli, result, exit, stopped),
  };
}

/** A terminal may put control sequences before the document. */
function objectOf(line: Buffer): Record<string, unknown> | null {
  const start = line.indexOf("{");
  if (start === -1 || isTooDeep(line.subarray(start))) return null;
  try {
    const value: unknown = JSON.parse(line.toString("utf8", start));
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function verdictOf(
  cli: string,
  result: FinalResult | null,
  exit: ProgramExit,
  stopped: boolean,
): RunEnd | null {
  const exitCode = exit.kind === "exited" ? exit.code : null;
  const signal = exit.kind === "signalled" ? exit.signal : null;
  if (result === null) {
    if (exitCode !== 0) return null;
    const cause = `${cli} exited with 0 and without a result; what it did is unknown`;
    return { outcome: "failed", reason: "result_error", exitCode, signal, detail: { cause } };
  }
  if (result.kind === "error") {
    const cause = `${cli}'s result is an error: ${result.cause}`.slice(0, 4096);
    if (result.loginLost !== true)
      return { outcome: "failed", reason: "result_error", exitCode, signal, detail: { cause } };
    const fix = "check the model key of the run (spec.agentToken) and who may use it";
    return { outcome: "failed", reason: "login_lost", exitCode, signal, detail: { cause, fix } };
  }
  if (stopped) return { outcome: "succeeded", reason: "hung_after_result", exitCode, signal };
  if (exitCode === 0) return { outcome: "succeeded", reason: "completed", exitCode, signal };
  return null;
}

/** True for the ways in which CLIs say that the model's service does not take the key. */
export function isLoginLost(text: string): boolean {
  return /\b401\b|unauthori[sz]ed|authentication_?error|invalid (?:x-)?api[ -_]?key|not logged in|please (?:log|sign) ?in|\/login\b/i.test(
    text,
  );
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A field as text: a string as it is, an object's `message` (some levels deep), else nothing. */
export function textOf(value: unknown): string {
  let text = value;
  for (let level = 0; level < 8 && isObject(text); level++)
    text = text["message"] ?? text["data"] ?? text["error"];
  return typeof text === "string" ? text : "";
}
