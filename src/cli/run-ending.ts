import { dirname } from "node:path";
import timers from "node:timers/promises";
import { PlatformError } from "../kit/platform-error.ts";
import type { RunInfo } from "../protocol/manager-api.ts";
import { endOfRefusal, exitCodeOfRun, ExitCode, type RunEnd } from "../protocol/outcome.ts";
import type { RunResult } from "../protocol/results.ts";
import { humanBytes, humanSpan, humanWhy, oneLine } from "./human.ts";
import { exitCodeOf, type Output } from "./output.ts";
import { isResumable } from "./resume.ts";
import { rereadRun, type KnownRun } from "./run-files.ts";

/** The end that the manager wrote down; a run whose supervisor was killed is closed by the manager a little later. */
export async function waitForEnding(
  known: KnownRun,
  limitMs: number,
  signal: AbortSignal,
): Promise<RunInfo> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const { info } = await rereadRun(known);
    if (info.phase === "ended") return info;
    if (performance.now() > deadline)
      throw new PlatformError(
        "run_not_closed",
        `Run "${info.run}" lost its supervisor and was not closed within ${limitMs / 1000} s`,
        { path: known.dir, fix: `agentkube stop ${info.run} closes it` },
      );
    await timers.setTimeout(50, undefined, { signal });
  }
}

/** The document of `run --json`. */
export function resultOf(info: RunInfo, recordingPath: string, page: string | null): RunResult {
  const end = info.end ?? unknownEnd;
  return {
    run: info.run,
    agent: info.agent,
    outcome: end.outcome,
    reason: end.reason,
    exitCode: end.exitCode,
    signal: end.signal,
    ...(end.detail === undefined ? {} : { detail: end.detail }),
    recording:
      info.recording === null
        ? null
        : {
            path: recordingPath,
            bytes: info.recording.bytes,
            sha256: info.recording.sha256,
            verified: info.recording.verified,
          },
    calls: info.calls,
    page,
  };
}

/** The document of `run --json` for a run that was refused before it existed. */
export function refusedResult(
  error: unknown,
  agent: string | null,
  wasStopped: boolean,
): RunResult {
  const end = endOfRefusal(error);
  return {
    run: "",
    agent: agent ?? "",
    ...end,
    ...(wasStopped ? { outcome: "cancelled", reason: "cancelled" } : {}),
    recording: null,
    calls: [],
    page: null,
  };
}

/** The exit code of a run that was refused before it existed: 2 for words and manifests, 3 for everything else. */
export function refusedExitCode(error: unknown): number {
  return exitCodeOf(error) === ExitCode.usage ? ExitCode.usage : ExitCode.refused;
}

/** The exit code of an ended run. */
export function exitCodeOfEnding(info: RunInfo): number {
  return exitCodeOfRun(info.end ?? unknownEnd, info.recording);
}

/** What a person reads when a run is over. `dataWords`: see data-dir.ts. `servedBy`: the command that serves the page, when nothing does now. */
export function sayEnding(
  info: RunInfo,
  paths: { recording: string; dataWords: string },
  page: { url: string; servedBy: string | null } | null,
  output: Output,
): void {
  const end = info.end ?? unknownEnd;
  const style =
    end.outcome === "succeeded" ? "green" : end.outcome === "cancelled" ? "yellow" : "red";
  const code = end.signal ?? (end.exitCode === null ? null : `code ${end.exitCode}`);
  output.note("");
  output.note(`${output.paint(style, end.outcome)}${humanWhy(end, code)}  run ${info.run}`);
  const { detail } = end;
  if (detail !== undefined) {
    output.note(`  cause: ${oneLine(detail.cause)}`);
    if (detail.path !== undefined) output.note(`  path:  ${oneLine(detail.path)}`);
    if (detail.fix !== undefined) output.note(`  fix:   ${oneLine(detail.fix)}`);
  }
  for (const call of info.calls.slice(-MAX_CALLS))
    output.note(
      `  call   ${oneLine(call.tool)} ${oneLine(call.operation)}: ${call.outcome} in ${humanSpan(call.durationMs)}`,
    );
  if (info.calls.length > MAX_CALLS)
    output.note(
      `  … and ${info.calls.length - MAX_CALLS} calls before: agentkube logs ${info.run} --audit${paths.dataWords}`,
    );
  if (info.recording !== null) {
    const verified = info.recording.verified ? "verified" : output.paint("red", "NOT verified");
    output.note(
      `  recording  ${paths.recording} (${humanBytes(info.recording.bytes)}, ${verified})`,
    );
    output.note(`  replay     agentkube recording play ${info.run}${paths.dataWords}`);
  }
  if (isResumable(dirname(paths.recording)))
    output.note(`  go on      agentkube run --resume ${info.run}${paths.dataWords} …`);
  if (page !== null) {
    // The manager went with its last run; the page keeps its address.
    if (page.servedBy !== null) output.note(`  page       start ${page.servedBy} and open`);
    output.note(`${page.servedBy === null ? "  page      " : "            "} ${page.url}`);
    if (!page.url.includes("#token="))
      output.note(
        `             agentkube page ${info.run}${paths.dataWords} prints the link that opens it`,
      );
  }
}

const MAX_CALLS = 20;

/** Nobody said how it ended: never a success. */
const unknownEnd: RunEnd = {
  outcome: "failed",
  reason: "agentlet_fault",
  exitCode: null,
  signal: null,
  detail: { cause: "The manager does not know how the run ended" },
};
