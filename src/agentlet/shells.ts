import { constants } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import type { ProgramExit } from "../kit/init-channel.ts";
import type { Log } from "../kit/log.ts";
import { messageOf } from "../kit/platform-error.ts";
import type { RedactionSet } from "../kit/redaction-set.ts";
import type { StartedProgram } from "../kit/started-programs.ts";
import type { AgentletCommand, AgentletEvent, AgentletMessage } from "../protocol/agentlet-link.ts";
import type { GrantId } from "../protocol/ids.ts";
import { signalExitCode } from "../protocol/outcome.ts";
import type { AttachWire } from "./attachments.ts";
import { LiveTerminal } from "./live-terminal.ts";
import { PtySession } from "./pty-session.ts";
import { RecorderLink } from "./recorder-link.ts";

export const SHELL_LIMITS = {
  shells: 8,
  /** the recorder must have taken the session before its program starts */
  recorderMs: 15_000,
  /** without a manager nobody can see or type: the shell is closed after this long */
  aloneMs: 30_000,
  /** how long a shell that was hung up may take to end */
  hangUpMs: 2000,
  /** how long the last bytes of a shell may take to be durable at the recorder */
  sealMs: 10_000,
};

/** bash where there is one; the words are fixed and nothing of the request is in them. */
const INTERACTIVE = ["/bin/sh", "-c", "command -v bash >/dev/null && exec bash; exec sh"];

/** Zone A as far as shells need it. */
export interface ShellZone {
  start(request: { argv: string[]; cols: number; rows: number }): Promise<StartedProgram>;
}

export interface ShellsOptions {
  recorderSocket: string;
  agentletToken: string;
  recordInput: boolean;
  /** what viewers do not get to see, as it is now */
  redaction(): RedactionSet;
  log: Log;
  emit(event: AgentletEvent): void;
}

type ShellCommand = Extract<AgentletCommand, { grant_id: GrantId }>;
type ShellOpen = Extract<AgentletCommand, { kind: "shell_open" }>;

interface Shell {
  readonly terminal: LiveTerminal;
  readonly done: Promise<void>;
  close(reason: string): void;
}

/**
 * Shells beside the agent's own terminal: each a second PTY in zone A for one grant, recorded as a session of its own. They end with
 * their person, and with the run.
 */
export class Shells {
  readonly #options: ShellsOptions;
  readonly #shells = new Map<GrantId, Shell>();
  readonly #used = new Set<GrantId>();
  #zone: ShellZone | null = null;
  #wire: AttachWire | null = null;
  #alone: NodeJS.Timeout | undefined;

  constructor(options: ShellsOptions) {
    this.#options = options;
  }

  /** Zone A runs, or (null) does not any more. */
  useZone(zone: ShellZone | null): void {
    this.#zone = zone;
  }

  useWire(wire: AttachWire | null): void {
    this.#wire = wire;
    clearTimeout(this.#alone);
    for (const [grant, { terminal }] of this.#shells)
      terminal.useWire(wire === null ? null : shellWire(grant, wire));
    if (wire !== null || this.#shells.size === 0) return;
    this.#alone = setTimeout(() => {
      for (const shell of this.#shells.values()) shell.close("the manager is away");
    }, SHELL_LIMITS.aloneMs).unref();
  }

  /** From here on another set of secrets is masked. */
  redact(redaction: RedactionSet): void {
    for (const { terminal } of this.#shells.values()) terminal.redact(redaction);
  }

  handle(command: ShellCommand): void {
    const { grant_id: attach } = command;
    const shell = this.#shells.get(attach);
    if (command.kind === "shell_open") {
      if (shell === undefined) return this.#open(command);
      const { fromOffset } = command;
      return shell.terminal.handle({ kind: "attach_open", attach, write: true, fromOffset });
    }
    if (command.kind === "shell_close") return this.#close(attach, command.reason);
    if (shell === undefined) return;
    if (command.kind === "shell_input")
      shell.terminal.handle({ kind: "attach_input", attach, data: command.data });
    else
      shell.terminal.handle({
        kind: "attach_resize",
        attach,
        cols: command.cols,
        rows: command.rows,
      });
  }

  /** Ends every shell and waits until what they showed is durable, for a bounded time. */
  async close(reason: string): Promise<void> {
    this.#zone = null;
    clearTimeout(this.#alone);
    for (const shell of this.#shells.values()) shell.close(reason);
    await Promise.all([...this.#shells.values()].map(async (shell) => await shell.done));
  }

  #open(command: ShellOpen): void {
    const { grant_id: grant } = command;
    const refusal = this.#refusalOf(grant);
    if (refusal !== null || this.#zone === null) return this.#refuse(grant, refusal ?? "");
    this.#used.add(grant);
    const closing = Promise.withResolvers<string>();
    const valve: Valve = { full: false, onChange: null };
    const recorder = this.#recorderOf(grant, (full) => {
      valve.full = full;
      valve.onChange?.(full);
    });
    const terminal = new LiveTerminal({
      size: command,
      redaction: this.#options.redaction(),
      recorder,
      recordInput: this.#options.recordInput,
      onScreen: () => {},
      onRefusedInput: () => {},
    });
    const parts = {
      command,
      zone: this.#zone,
      recorder,
      terminal,
      valve,
      closing: closing.promise,
    };
    const done = this.#live(parts).finally(() => this.#shells.delete(grant));
    this.#shells.set(grant, { terminal, done, close: closing.resolve });
  }

  /** Also a grant that was never used, or whose end was not heard, is over then. */
  #close(grant: GrantId, reason: string): void {
    const shell = this.#shells.get(grant);
    if (shell !== undefined) return shell.close(reason);
    this.#used.add(grant);
    this.#say({ kind: "shell_close", grant_id: grant, reason: reason.slice(0, 256) });
  }

  #refusalOf(grant: GrantId): string | null {
    if (this.#zone === null) return "The agent does not run: there is nothing to open a shell in";
    if (this.#used.has(grant)) return "The shell of this grant has ended; ask for another";
    if (this.#shells.size < SHELL_LIMITS.shells) return null;
    return `More than ${SHELL_LIMITS.shells} shells are open`;
  }

  /** A shell from its recorder's welcome to its sealed record. Never rejects. */
  async #live(parts: ShellParts): Promise<void> {
    const { command, recorder, terminal, closing } = parts;
    const grant = command.grant_id;
    let end: ShellEnd;
    try {
      await recorderReady(recorder, closing);
      const { cols, rows } = command;
      const argv = command.argv ?? INTERACTIVE;
      const started = await parts.zone.start({ argv, cols, rows });
      recorder.resize({ cols, rows });
      if (this.#wire !== null) terminal.useWire(shellWire(grant, this.#wire));
      const { kind, fromOffset } = { kind: "attach_open" as const, fromOffset: null };
      terminal.handle({ kind, attach: grant, write: true, fromOffset });
      this.#emit(grant, "opened", command.argv?.join(" ") ?? "interactive");
      end = await followShell(parts, started);
      this.#emit(grant, "closed", end.reason);
    } catch (error) {
      this.#options.log.warn({ shell: grant, err: error }, "shell not opened");
      end = { reason: messageOf(error), status: refusedStatus(error) };
      this.#emit(grant, "refused", end.reason);
    }
    // Its window first, for it needs no more than what was shown; then the record.
    await terminal.finish(end.reason);
    this.#say({
      kind: "shell_close",
      grant_id: grant,
      reason: end.reason.slice(0, 256),
      exitCode: end.status,
    });
    terminal[Symbol.dispose]();
    await endWithin(recorder.exit(end.status), SHELL_LIMITS.sealMs);
    await recorder[Symbol.asyncDispose]();
  }

  #recorderOf(grant: GrantId, onFull: (full: boolean) => void): RecorderLink {
    const { recorderSocket, agentletToken, log } = this.#options;
    const startedAt = performance.now();
    return new RecorderLink({
      socket: recorderSocket,
      token: agentletToken,
      grant,
      clock: () => Math.round((performance.now() - startedAt) * 1000),
      onFull,
      log: log.child({ shell: grant }),
    });
  }

  #refuse(grant: GrantId, reason: string): void {
    this.#used.add(grant);
    this.#emit(grant, "refused", reason);
    this.#say({ kind: "shell_close", grant_id: grant, reason });
  }

  #emit(grant: GrantId, change: "opened" | "refused" | "closed", detail: string): void {
    const time = new Date().toISOString();
    this.#options.emit({
      type: "shell",
      time,
      grant_id: grant,
      change,
      detail: detail.slice(0, 1024),
    });
  }

  #say(message: AgentletMessage): void {
    this.#wire?.sendMessage(message);
  }
}

interface Valve {
  full: boolean;
  onChange: ((full: boolean) => void) | null;
}

interface ShellParts {
  command: ShellOpen;
  zone: ShellZone;
  recorder: RecorderLink;
  terminal: LiveTerminal;
  valve: Valve;
  closing: Promise<string>;
}

/** Nothing starts before the recorder can take its bytes. */
async function recorderReady(recorder: RecorderLink, closing: Promise<string>): Promise<void> {
  const over = new AbortController();
  const late = delay(SHELL_LIMITS.recorderMs, "late", { signal: over.signal }).catch(() => "late");
  const first = await Promise.race([
    recorder.welcomed.then(() => "ready"),
    recorder.lost.then(messageOf),
    closing,
    late,
  ]);
  over.abort();
  if (first === "late")
    throw new Error(`The recorder did not take the shell within ${SHELL_LIMITS.recorderMs} ms`);
  if (first !== "ready") throw new Error(first);
}

interface ShellEnd {
  reason: string;
  status: number;
}

/** From the first byte to the last. */
async function followShell(parts: ShellParts, started: StartedProgram): Promise<ShellEnd> {
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
  await pty.ended;
  terminal.use(null);
  valve.onChange = null;
  const exit = (await endWithin(started.exited, SHELL_LIMITS.hangUpMs)) ?? (await killed(started));
  return { reason: closed ?? wordsOf(exit), status: statusOf(exit) };
}

/** A program that stays after its terminal is gone would hold one of zone A's places for as long as the run lasts. */
async function killed(started: StartedProgram): Promise<ProgramExit | null> {
  started.signal(constants.signals.SIGKILL);
  return await endWithin(started.exited, SHELL_LIMITS.hangUpMs);
}

async function endWithin<T>(ended: Promise<T>, ms: number): Promise<T | null> {
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

/** As a shell would have said it: 127 for a program that is not there, 126 for one that may not be executed. */
function refusedStatus(error: unknown): number {
  const cause = error instanceof Error ? error.cause : null;
  const errno =
    typeof cause === "object" && cause !== null && "errno" in cause ? cause.errno : null;
  return ["EACCES", "ENOEXEC", "EPERM"].includes(String(errno)) ? 126 : 127;
}

function wordsOf(exit: ProgramExit | null): string {
  if (exit?.kind === "exited") return `exited with code ${exit.code}`;
  if (exit?.kind === "signalled") return `ended by ${exit.signal}`;
  return "ended with the run";
}

/** A shell is shown over the frames of its grant: what an attach calls a snapshot opens it. */
function shellWire(grant: GrantId, wire: AttachWire): AttachWire {
  return {
    sendMessage: (message) => {
      if (message.kind === "attach_taken")
        wire.sendMessage({ kind: "shell_taken", grant_id: grant, bytes: message.bytes });
      if (message.kind !== "attach_snapshot") return;
      const { offset, cols, rows, data } = message;
      wire.sendMessage({ kind: "shell_open", grant_id: grant, offset, cols, rows, data });
    },
    sendBinary: (message, done) => wire.sendBinary(message, done),
  };
}
