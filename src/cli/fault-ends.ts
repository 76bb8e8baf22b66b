import type { RunEnd } from "../protocol/outcome.ts";

/** The end of a run that the supervisor was told to stop, when the agentlet could not say it. */
export function cancelledEnd(stop: AbortSignal, when: "starting" | "running"): RunEnd {
  return {
    outcome: "cancelled",
    reason: "cancelled",
    exitCode: null,
    signal: null,
    detail: { cause: `It was stopped while it was ${when} (${String(stop.reason)})` },
  };
}

/** The end of a run whose programs could not be kept alive. */
export function faultEnd(cause: string, logsDir: string): RunEnd {
  return {
    outcome: "failed",
    reason: "agentlet_fault",
    exitCode: null,
    signal: null,
    detail: {
      cause: capital(cause).slice(0, 4096),
      path: logsDir,
      fix: "read the logs there, then start the run again",
    },
  };
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
