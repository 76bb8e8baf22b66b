import { constants } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import type { ProgramExit } from "../kit/init-channel.ts";
import { messageOf } from "../kit/platform-error.ts";
import type { StartedProgram } from "../kit/started-programs.ts";
import { signalExitCode } from "../protocol/outcome.ts";
import { endOfProgram, startFailureOf } from "./exit.ts";
import type { LiveTerminal } from "./live-terminal.ts";
import { PtySession } from "./pty-session.ts";
import type { RecorderLink } from "./recorder-link.ts";

const LIMITS = {
  /** zone A must have started its program: a shell may be asked for as soon as the run is there */
  zoneMs: 60_000,
  /** the recorder must have taken the session before its program starts */
  recorderMs: 15_000,
  /** how long a shell that was hung up may take to end */
  hangUpMs: 2000,
};

/** bash where there is one; the words are fixed and nothing of the request is in them. */
const INTERACTIVE = ["/bin/sh", "-c", "command -v bash >/dev/null && exec bash; exec sh"];

/** Zone A as far as shells need it. */
export interface ShellZone {
  start(request: { argv: string[]; cols: number; rows: number }): Promise<StartedProgram>;
}

/** Whether the recorder takes more of what the shell prints. */
export class Valve {
  full = false;
  onChange: ((full: boolean) => void) | null = null;

  set(full: boolean): void {
    this.full = full;
    this.onChange?.(full);
  }
}

/** What one shell is made of. */
export interface ShellParts {
  /** null for an interactive shell */
  argv: string[] | null;
  /** once it runs; null when it does not any more */
  zone: Promise<ShellZone | null>;
  recorder: RecorderLink;
  terminal: LiveTerminal;
  valve: Valve;
  /** settles with the reason when the shell is to be closed from outside */
  closing: Promise<string>;
}

/** How a shell ended, in words and as the status that its person gets. */
export interface ShellEnd {
  reason: string;
  status: number;
}

export const NO_ZONE = "The agent does not run: there is nothing to open a shell in";

/** Starts the program once zone A runs and the recorder can take its bytes; rejects when either does not come, and when it is closed before. */
export async function startShell(parts: ShellParts): Promise<StartedProgram> {
  const { argv, recorder, terminal } = parts;
  const zone = await beforeClosing(parts, parts.zone, LIMITS.zoneMs, "The agent did not start");
  if (zone === null) throw new Error(NO_ZONE);
  const welcomed = recorder.welcomed;
  await beforeClosing(parts, welcomed, LIMITS.recorderMs, "The recorder did not take the shell");
  const { cols, rows } = terminal.size;
  const started = await zone.start({ argv: argv ?? INTERACTIVE, cols, rows });
  recorder.resize({ cols, rows });
  return started;
}

/** What comes within so many ms, unless the shell is closed or its recorder lost before. */
async function beforeClosing<T>(
  { recorder, closing }: ShellParts,
  coming: Promise<T>,
  ms: number,
  late: string,
): Promise<T> {
  const over = new AbortController();
  const refusals = [
    closing,
    recorder.lost.then(messageOf),
    delay(ms, `${late} within ${ms} ms`, { signal: over.signal }).catch(() => late),
  ].map(async (reason) => ({ refused: await reason }));
  const first = await Promise.race([coming.then((value) => ({ value })), ...refusals]);
  over.abort();
  if ("refused" in first) throw new Error(first.refused);
  return first.value;
}

/** From the first byte of a started shell to its last. */
export async function followShell(parts: ShellParts, started: StartedProgram): Promise<ShellEnd> {
  const { recorder, terminal, valve, closing } = parts;
  const pty = new PtySession({
    program: started,
    size: terminal.size,
    onOutput: (bytes) => terminal.output(bytes),
    onRefusedInput: () => {},
  });
  terminal.use(pty);
  valve.onChange = (full) => (full ? pty.pause() : pty.resume());
  if (valve.full) pty.pause();
  const closed = await Promise.race([
    started.exited.then(() => null),
    closing,
    recorder.lost.then(messageOf),
  ]);
  // The terminal goes: the shell and what runs in its foreground have SIGHUP.
  if (closed !== null) pty.abandon();
  // Also one that has exited: while its recorder takes nothing, its last bytes would be waited for without end.
  else void Promise.race([closing, recorder.lost]).then(() => pty.abandon());
  await pty.ended;
  terminal.use(null);
  valve.onChange = null;
  const exit = (await endWithin(started.exited, LIMITS.hangUpMs)) ?? (await killed(started));
  return { reason: closed ?? wordsOf(exit), status: statusOf(exit) };
}

/** A program that stays after its terminal is gone would hold one of zone A's places for as long as the run lasts. */
async function killed(started: StartedProgram): Promise<ProgramExit | null> {
  started.signal(constants.signals.SIGKILL);
  return await endWithin(started.exited, LIMITS.hangUpMs);
}

/** What settles within so many ms, else null. */
export async function endWithin<T>(ended: Promise<T>, ms: number): Promise<T | null> {
  const over = new AbortController();
  const late = delay(ms, null, { signal: over.signal }).catch(() => null);
  const result = await Promise.race([ended, late]);
  over.abort();
  return result;
}

/** As a shell would have seen it; unknown is never 0. */
function statusOf(exit: ProgramExit | null): number {
  if (exit?.kind === "exited") return exit.code;
  return exit?.kind === "signalled" ? Math.min(255, signalExitCode(exit.signal)) : 1;
}

/** A shell that did not open. As a shell would have said it: 127 for a program that is not there, 126 for one that may not be executed. */
export function refusedEnd(error: unknown, argv: readonly string[] | null): ShellEnd {
  const failure = startFailureOf(error);
  const status = ["EACCES", "ENOEXEC", "EPERM"].includes(failure?.errno ?? "") ? 126 : 127;
  const detail = failure === null ? undefined : endOfProgram(failure, argv?.[0] ?? "sh").detail;
  const why = [detail?.cause ?? messageOf(error), detail?.fix].filter(Boolean).join("; ");
  return { reason: why, status };
}

function wordsOf(exit: ProgramExit | null): string {
  if (exit?.kind === "exited") return `exited with code ${exit.code}`;
  if (exit?.kind === "signalled") return `ended by ${exit.signal}`;
  return "ended with the run";
}
