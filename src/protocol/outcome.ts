import { constants } from "node:os";
import * as z from "zod";
import { errorFacts } from "../kit/platform-error.ts";

export const RunOutcome = z.enum(["succeeded", "failed", "refused", "cancelled"]);
export type RunOutcome = z.infer<typeof RunOutcome>;

/** Why a run ended: a closed list. `detail` says more. */
export const RunReason = z.enum([
  "completed",
  "exited",
  "signalled",
  "spawn_failed",
  "result_error",
  "hung_after_result",
  "stalled",
  "timed_out",
  "cancelled",
  "login_lost",
  "recorder_lost",
  "agentlet_fault",
  "not_started",
]);
export type RunReason = z.infer<typeof RunReason>;

/** What a person needs to act on an ending: the cause, where, and what to do. */
export const EndDetail = z.strictObject({
  cause: z.string().max(4096),
  path: z.string().max(4096).optional(),
  fix: z.string().max(4096).optional(),
});
export type EndDetail = z.infer<typeof EndDetail>;

/** How a run ended. At most one of `exitCode` and `signal` is set: what the program ended with, also when it was we who ended it; none when it never ran, or was killed with all of its zone. */
export const RunEnd = z.strictObject({
  outcome: RunOutcome,
  reason: RunReason,
  exitCode: z.int().min(0).max(255).nullable(),
  signal: z.string().max(32).nullable().describe("signal name, such as SIGKILL"),
  detail: EndDetail.optional(),
});
export type RunEnd = z.infer<typeof RunEnd>;

/** The end of a run whose program never started, for whatever this error says. */
export function endOfRefusal(error: unknown): RunEnd {
  const { message, path, fix } = errorFacts(error);
  const detail: EndDetail = {
    cause: message.slice(0, 4096),
    ...(path === undefined ? {} : { path: path.slice(0, 4096) }),
    ...(fix === undefined ? {} : { fix: fix.slice(0, 4096) }),
  };
  return { outcome: "refused", reason: "not_started", exitCode: null, signal: null, detail };
}

/** How a tool call ended: a closed list. */
export const CallOutcome = z.enum([
  "completed",
  "signalled",
  "timed_out",
  "killed_by_limit",
  "refused",
  "cancelled",
  "start_failed",
  "lost",
]);
export type CallOutcome = z.infer<typeof CallOutcome>;

export const ExitCode = {
  done: 0,
  failed: 1,
  usage: 2,
  refused: 3,
  timedOut: 124,
  cancelled: 130,
} as const;

/** 128+n for a signal's name; 128 when the name is not known on this platform. */
export function signalExitCode(signal: string): number {
  const number = (constants.signals as Record<string, number | undefined>)[signal];
  return 128 + (number ?? 0);
}

/**
 * The exit code of `agentkube run` for an end. A recording that is not verified makes every run that was not refused a
 * failure, however it ended; null: there is none, as when a run is cancelled before it began.
 */
export function exitCodeOfRun(end: RunEnd, recording: { verified: boolean } | null): number {
  if (end.outcome === "refused") return ExitCode.refused;
  if (recording?.verified === false) return ExitCode.failed;
  if (end.outcome === "cancelled") return ExitCode.cancelled;
  if (end.reason === "timed_out") return ExitCode.timedOut;
  if (recording === null) return ExitCode.failed;
  if (end.outcome === "succeeded") return ExitCode.done;
  if (end.reason === "exited" && end.exitCode !== null && end.exitCode !== 0) return end.exitCode;
  if (end.reason === "signalled" && end.signal !== null) return signalExitCode(end.signal);
  return ExitCode.failed;
}
