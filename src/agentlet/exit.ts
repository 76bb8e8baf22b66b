import type { ProgramExit } from "../kit/init-channel.ts";
import { ExitCode, signalExitCode } from "../protocol/outcome.ts";
import type { EndDetail, RunEnd } from "../protocol/outcome.ts";
import type { Zone } from "../protocol/run-spec.ts";
import type { StopReason } from "./stop.ts";

/** The end of a run whose program ended by itself. Unknown is never success. */
export function endOfProgram(
  exit: ProgramExit,
  program: string,
  zone: Zone["kind"] = "sandbox",
): RunEnd {
  switch (exit.kind) {
    case "exited":
      return {
        outcome: exit.code === 0 ? "succeeded" : "failed",
        reason: "exited",
        exitCode: exit.code,
        signal: null,
      };
    case "signalled":
      return { outcome: "failed", reason: "signalled", exitCode: null, signal: exit.signal };
    case "failed":
      return failed("spawn_failed", spawnDetail(exit, program, zone));
    case "lost":
      return failed("agentlet_fault", {
        cause: "The init of zone A ended before it could say how the program ended",
        fix: "look into the agentlet's log of the run for what ended it (out of memory is common)",
      });
  }
}

/** The end of a run that we ended, with what the program said by its exit; `exit` is null when it was not started. */
export function endOfStop(reason: StopReason, cause: string, exit: ProgramExit | null): RunEnd {
  const said = {
    exitCode: exit?.kind === "exited" ? exit.code : null,
    signal: exit?.kind === "signalled" ? exit.signal : null,
  };
  if (reason === "cancelled")
    return { outcome: "cancelled", reason: "cancelled", ...said, detail: { cause } };
  if (reason === "out_of_memory")
    return {
      outcome: "failed",
      reason: "signalled",
      exitCode: null,
      signal: "SIGKILL",
      detail: {
        cause,
        path: "spec.limits.memory",
        fix: "raise spec.limits.memory, or give the agent less to do at once",
      },
    };
  return { ...failed(reason, { cause }), ...said };
}

/** The status that the recording's last event carries: what a shell would have seen. */
export function exitStatusOf(end: RunEnd, exit: ProgramExit): number {
  if (end.outcome === "refused") return ExitCode.refused;
  if (end.reason === "timed_out") return ExitCode.timedOut;
  if (end.reason === "cancelled") return ExitCode.cancelled;
  if (end.signal !== null) return Math.min(255, signalExitCode(end.signal));
  if (exit.kind === "exited") return exit.code;
  if (exit.kind === "signalled") return Math.min(255, signalExitCode(exit.signal));
  if (exit.kind === "failed") return exit.errno === "ENOENT" ? 127 : 126;
  return ExitCode.failed;
}

/** How a program failed to start, when it was the program and not the zone that failed. */
export function startFailureOf(error: unknown): Extract<ProgramExit, { kind: "failed" }> | null {
  if (!(error instanceof Error) || typeof error.cause !== "object" || error.cause === null)
    return null;
  const cause = error.cause as Partial<Extract<ProgramExit, { kind: "failed" }>>;
  const { kind, errno, step } = cause;
  if (kind !== "failed" || typeof errno !== "string" || typeof step !== "string") return null;
  return { kind, errno, step };
}

function failed(reason: RunEnd["reason"], detail: EndDetail): RunEnd {
  return { outcome: "failed", reason, exitCode: null, signal: null, detail };
}

function spawnDetail(
  exit: Extract<ProgramExit, { kind: "failed" }>,
  program: string,
  zone: Zone["kind"],
): EndDetail {
  const path = program.slice(0, 4096);
  const said = `Cannot start "${path.slice(0, 1024)}"`;
  if (exit.step === "exec" && exit.errno === "ENOENT" && zone === "none")
    return {
      cause: `${said}: it, or the interpreter in its first line, is not in the image (ENOENT)`,
      path,
      fix: "use an image that has the program on its PATH (spec.image), or correct spec.command",
    };
  if (exit.step === "exec" && exit.errno === "ENOENT")
    return {
      cause: `${said}: it, or the interpreter in its first line, is not there in zone A (ENOENT)`,
      path,
      fix: "name a program that is installed; one outside /usr must be in the workspace or in spec.mounts",
    };
  if (exit.step === "exec" && exit.errno === "EACCES")
    return { cause: `${said}: it is not executable (EACCES)`, path, fix: `run chmod +x on it` };
  return {
    cause: `${said}: ${exit.step} failed with ${exit.errno}`,
    path,
    fix: "check the program and spec.limits",
  };
}
