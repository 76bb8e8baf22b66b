import type { ProgramExit } from "../kit/sandbox.ts";
import type { CallOutcome, EndDetail } from "../protocol/outcome.ts";

/** How a call ended, from the closed list of outcomes. */
export interface CallEnd {
  outcome: CallOutcome;
  exitCode: number | null;
  signal: string | null;
  detail?: EndDetail;
}

/** The reason a call is stopped by us: it travels as the reason of the call's abort signal. */
export class CallStopped extends Error {
  readonly outcome: CallOutcome;
  readonly fix: string | undefined;

  constructor(outcome: CallOutcome, message: string, fix?: string) {
    super(message);
    this.outcome = outcome;
    this.fix = fix;
  }

  /** This stop as the end of a call. */
  end(): CallEnd {
    return endOf(this.outcome, this.message, this.fix);
  }
}

/** Settles with the reason of a call's abort signal, once it is aborted. */
export function stopOf(signal: AbortSignal): Promise<CallStopped> {
  const { promise, resolve } = Promise.withResolvers<CallStopped>();
  const settle = (): void => resolve(signal.reason as CallStopped);
  if (signal.aborted) settle();
  else signal.addEventListener("abort", settle, { once: true });
  return promise;
}

/** An end without an exit code. */
export function endOf(outcome: CallOutcome, cause: string, fix?: string, path?: string): CallEnd {
  const detail: EndDetail = { cause: cause.slice(0, 4096) };
  if (path !== undefined) detail.path = path.slice(0, 4096);
  if (fix !== undefined) detail.fix = fix.slice(0, 4096);
  return { outcome, exitCode: null, signal: null, detail };
}

/** The end of a call whose tool ended by itself. */
export function endOfExit(exit: ProgramExit, program: string): CallEnd {
  switch (exit.kind) {
    case "exited":
      return { outcome: "completed", exitCode: exit.code, signal: null };
    case "signalled":
      return endOfSignal(exit.signal);
    case "failed":
      return endOf(
        "start_failed",
        `Cannot start "${program}": ${exit.step} failed with ${exit.errno}`,
        exit.errno === "ENOENT" || exit.errno === "ENOEXEC"
          ? "check that the file and the interpreter in its first line exist in the sandbox: /usr of the host and the package at /opt/tool"
          : undefined,
        program,
      );
    case "lost":
      return endOf("lost", "The sandbox ended without saying how the tool ended");
  }
}

function endOfSignal(signal: string): CallEnd {
  if (signal === "SIGXCPU") return { ...limitEnd("its CPU time", "cpu"), signal };
  if (signal === "SIGXFSZ") return { ...limitEnd("the size of a file", "scratch"), signal };
  const cause =
    signal === "SIGSYS"
      ? "The tool was ended by SIGSYS: it used a system call that the sandbox forbids"
      : `The tool was ended by ${signal}`;
  return { ...endOf("signalled", cause), signal };
}

function limitEnd(what: string, field: string): CallEnd {
  return endOf(
    "killed_by_limit",
    `The tool reached the limit of ${what}`,
    `raise spec.sandbox.limits.${field}`,
  );
}
