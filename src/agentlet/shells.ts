import type { Log } from "../kit/log.ts";
import type { RedactionSet } from "../kit/redaction-set.ts";
import type { AgentletCommand, AgentletEvent, AgentletMessage } from "../protocol/agentlet-link.ts";
import type { GrantId } from "../protocol/ids.ts";
import type { AttachWire } from "./attachments.ts";
import { LiveTerminal } from "./live-terminal.ts";
import { RecorderLink } from "./recorder-link.ts";
import { endWithin, followShell, NO_ZONE, refusedEnd, startShell, Valve } from "./shell-program.ts";
import type { ShellEnd, ShellParts, ShellZone } from "./shell-program.ts";

const LIMITS = {
  shells: 8,
  /** without a manager nobody can see or type: the shell is closed after this long */
  aloneMs: 30_000,
  /** what a person typed and resized before their shell was there; the manager sends 256 KiB of keys ahead at most */
  early: 4096,
  /** how long the last bytes of a shell may take to be durable at the recorder */
  sealMs: 10_000,
};

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
type Typed = Extract<AgentletCommand, { kind: "attach_input" | "attach_resize" }>;
type ShellOpen = Extract<AgentletCommand, { kind: "shell_open" }>;

interface Shell {
  readonly terminal: LiveTerminal;
  readonly done: Promise<void>;
  take(command: Typed): void;
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
  /** over for their person, who may open another one; their last bytes are still being made durable */
  readonly #sealing = new Set<GrantId>();
  /** null once there is no zone, or none any more */
  readonly #zone = Promise.withResolvers<ShellZone | null>();
  #isOver = false;
  #wire: AttachWire | null = null;
  #alone: NodeJS.Timeout | undefined;

  constructor(options: ShellsOptions) {
    this.#options = options;
  }

  /** Zone A runs; shells that were asked for before begin now. */
  useZone(zone: ShellZone): void {
    this.#zone.resolve(zone);
  }

  useWire(wire: AttachWire | null): void {
    this.#wire = wire;
    clearTimeout(this.#alone);
    for (const [grant, { terminal }] of this.#shells)
      terminal.useWire(wire === null ? null : shellWire(grant, wire));
    if (wire !== null || this.#shells.size === 0) return;
    this.#alone = setTimeout(() => {
      for (const shell of this.#shells.values()) shell.close("the manager is away");
    }, LIMITS.aloneMs).unref();
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
      shell.take({ kind: "attach_input", attach, data: command.data });
    else shell.take({ kind: "attach_resize", attach, cols: command.cols, rows: command.rows });
  }

  /** Ends every shell, for good, and waits until what they showed is durable, for a bounded time. */
  async close(reason: string): Promise<void> {
    this.#isOver = true;
    this.#zone.resolve(null);
    clearTimeout(this.#alone);
    for (const shell of this.#shells.values()) shell.close(reason);
    await Promise.all([...this.#shells.values()].map(async (shell) => await shell.done));
  }

  #open(command: ShellOpen): void {
    const { grant_id: grant } = command;
    const refusal = this.#refusalOf(grant);
    if (refusal !== null) return this.#refuse(grant, refusal);
    this.#used.add(grant);
    const closing = Promise.withResolvers<string>();
    const valve = new Valve();
    const recorder = this.#recorderOf(grant, (full) => valve.set(full));
    const terminal = new LiveTerminal({
      size: command,
      redaction: this.#options.redaction(),
      recorder,
      recordInput: this.#options.recordInput,
      onScreen: () => {},
      onRefusedInput: () => {},
    });
    const parts = {
      argv: command.argv ?? null,
      zone: this.#zone.promise,
      recorder,
      terminal,
      valve,
      closing: closing.promise,
    };
    const early = new EarlyKeys(terminal);
    const done = this.#live(grant, parts, early).finally(() => {
      this.#shells.delete(grant);
      this.#sealing.delete(grant);
    });
    const take = (typed: Typed) => early.take(typed);
    this.#shells.set(grant, { terminal, done, take, close: closing.resolve });
  }

  /** Also a grant that was never used, or whose end was not heard, is over then. */
  #close(grant: GrantId, reason: string): void {
    const shell = this.#shells.get(grant);
    if (shell !== undefined) return shell.close(reason);
    this.#used.add(grant);
    this.#say({ kind: "shell_close", grant_id: grant, reason: reason.slice(0, 256) });
  }

  #refusalOf(grant: GrantId): string | null {
    if (this.#isOver) return NO_ZONE;
    if (this.#used.has(grant)) return "The shell of this grant has ended; ask for another";
    const { size } = this.#shells;
    if (size - this.#sealing.size < LIMITS.shells && size < 2 * LIMITS.shells) return null;
    return `More than ${LIMITS.shells} shells are open`;
  }

  /** A shell from its recorder's welcome to its sealed record. Never rejects. */
  async #live(grant: GrantId, parts: ShellParts, early: EarlyKeys): Promise<void> {
    const { argv, recorder, terminal } = parts;
    let end: ShellEnd;
    try {
      const started = await startShell(parts);
      if (this.#wire !== null) terminal.useWire(shellWire(grant, this.#wire));
      terminal.handle({ kind: "attach_open", attach: grant, write: true, fromOffset: null });
      early.deliver();
      this.#emit(grant, "opened", argv?.join(" ") ?? "interactive");
      end = await followShell(parts, started);
      this.#emit(grant, "closed", end.reason);
    } catch (error) {
      this.#options.log.warn({ shell: grant, err: error }, "shell not opened");
      end = refusedEnd(error, argv);
      this.#emit(grant, "refused", end.reason);
    }
    // Its window first, for it needs no more than what was shown; then the record.
    await terminal.finish(end.reason);
    this.#sealing.add(grant);
    this.#say({
      kind: "shell_close",
      grant_id: grant,
      reason: end.reason.slice(0, 256),
      exitCode: end.status,
    });
    terminal[Symbol.dispose]();
    await endWithin(recorder.exit(end.status), LIMITS.sealMs);
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

/** What a person does before their shell is there is for its program. */
class EarlyKeys {
  readonly #terminal: LiveTerminal;
  #waiting: Typed[] | null = [];

  constructor(terminal: LiveTerminal) {
    this.#terminal = terminal;
  }

  take(command: Typed): void {
    if (this.#waiting === null) this.#terminal.handle(command);
    else if (this.#waiting.length < LIMITS.early) this.#waiting.push(command);
  }

  deliver(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const command of waiting) this.#terminal.handle(command);
  }
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
