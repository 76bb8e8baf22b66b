import { randomBytes } from "node:crypto";
import type { WebSocket } from "ws";
import type { AgentletCommand, AgentletMessage, AttachMessage } from "../protocol/agentlet-link.ts";
import type { GrantId } from "../protocol/ids.ts";
import { CloseCode } from "../protocol/recording-link.ts";
import { closeSocket, sendJson } from "./socket.ts";

/** A person whose window takes less than it gets has at most this much waiting; then it gets a new snapshot instead. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/** Below this a lagging window is asked for a snapshot again. */
const RESUME_BYTES = 64 * 1024;
const LAG_DEADLINE_MS = 30_000;
const LAG_POLL_MS = 50;
/** A person of whom so much typed is on its way and not taken by the program yet is not read from, down to the second. */
const INPUT_WINDOW_BYTES = 256 * 1024;
const INPUT_RESUME_BYTES = 64 * 1024;
/** Bytes typed that wait for the agentlet. */
const MAX_INPUT_WAITING_BYTES = 4 * 1024 * 1024;
/** As many as the agentlet lets wait: of older ones it knows no act any more. */
const MAX_WITHDRAWN = 16;

type AttachCommand = Extract<AgentletCommand, { attach: string }>;
type WithdrawCommand = Extract<AgentletCommand, { kind: "withdraw" }>;
type StopCommand = Extract<AgentletCommand, { kind: "stop" }>;

interface Person {
  readonly socket: WebSocket;
  readonly write: boolean;
  /** The id the agentlet knows this window by; null while it is not open there. */
  attach: string | null;
  /** The offset of the next byte this window needs; null before the first snapshot. */
  offset: number | null;
  size: { cols: number; rows: number } | null;
  /** asked for with the first snapshot only */
  historyRows: number;
  /** asked for a snapshot that has not come: what comes before it is of a stream that was dropped */
  awaitsSnapshot: boolean;
  lag: NodeJS.Timeout | null;
  /** size of the terminal, as the window was told; null before the first snapshot */
  shown: { cols: number; rows: number } | null;
  /** bytes typed that are with the agentlet, and not taken */
  typedBytes: number;
}

/** Of a shell: one window at a time, and frames that name its grant. */
export interface ShellFacts {
  readonly grant: GrantId;
  readonly argv: string[] | null;
  readonly size: { cols: number; rows: number };
  onPeople(count: number): void;
}

/** Joins the windows of people with the agentlet of one run, across its reconnects: those of its own terminal, or that of a shell. */
export class AttachRelay {
  readonly #shell: ShellFacts | null;
  readonly #people = new Set<Person>();
  #agentlet: WebSocket | null = null;
  #stopBy: string | null = null;
  /** the newest acts that were taken back: told again to an agentlet that may not have heard it */
  #withdrawn: WithdrawCommand[] = [];
  #closing: string | null = null;

  constructor(shell: ShellFacts | null = null) {
    this.#shell = shell;
  }

  /** People attached now. */
  get people(): number {
    return this.#people.size;
  }

  /** A new connection of the agentlet: every window is opened there again, from the byte it needs. */
  connect(agentlet: WebSocket): void {
    this.#agentlet = agentlet;
    if (this.#stopBy !== null) this.#command({ kind: "stop", by: this.#stopBy });
    for (const command of this.#withdrawn) this.send(command);
    if (this.#closing !== null) return this.closeShell(this.#closing);
    for (const person of this.#people) if (person.lag === null) this.#open(person);
  }

  /** Why this shell is to end, once somebody wanted that; nobody can enter it any more. */
  get closing(): string | null {
    return this.#closing;
  }

  /** The agentlet as another relay of the same run has it. */
  connectTo(other: AttachRelay): void {
    if (other.#agentlet !== null) this.connect(other.#agentlet);
  }

  disconnect(agentlet: WebSocket): void {
    if (this.#agentlet !== agentlet) return;
    this.#agentlet = null;
    for (const person of this.#people) {
      person.attach = null;
      if (person.typedBytes > 0)
        sendJson(person.socket, {
          kind: "waiting",
          message: `Not delivered, as far as is known: ${person.typedBytes} bytes that were on their way when the agentlet's connection broke`,
        } satisfies AttachMessage);
      this.#taken(person, person.typedBytes);
      this.#wait(person);
    }
  }

  /** Passes the wish to stop, now or as soon as an agentlet is there. */
  stop(by: string): void {
    this.#stopBy = by;
    this.#command({ kind: "stop", by });
  }

  /** Takes an act back, now or as soon as the agentlet is there again. */
  withdraw(command: WithdrawCommand): void {
    this.#withdrawn = [...this.#withdrawn, command].slice(-MAX_WITHDRAWN);
    this.send(command);
  }

  /** Passes a command on; false when no agentlet is connected. */
  send(command: AgentletCommand): boolean {
    if (this.#agentlet === null) return false;
    sendJson(this.#agentlet, command);
    return true;
  }

  /** A person's window. `from`: it already shows everything before this offset. */
  join(
    socket: WebSocket,
    options: { write: boolean; from: number | null; historyRows?: number },
  ): void {
    if (this.#shell !== null)
      for (const before of this.#people) {
        this.#leave(before);
        this.#end(before, "Another window has taken this shell over", true);
      }
    const person: Person = {
      socket,
      write: options.write,
      attach: null,
      offset: options.from,
      size: null,
      historyRows: options.historyRows ?? 0,
      awaitsSnapshot: false,
      lag: null,
      shown: null,
      typedBytes: 0,
    };
    this.#people.add(person);
    this.#shell?.onPeople(this.#people.size);
    socket.once("close", () => this.#leave(person));
    if (this.#agentlet === null) this.#wait(person);
    else this.#open(person);
  }

  /** What the person typed. */
  input(socket: WebSocket, bytes: Buffer): void {
    const person = this.#personAt(socket);
    // A read-only window may still send the answers of its terminal to queries; they go nowhere.
    if (person === undefined || !person.write) return;
    // Who wants to break off a flood that their window cannot take is heard; nothing is shown to them meanwhile.
    if (person.lag !== null && person.attach === null) this.#open(person);
    if (person.attach === null || this.#agentlet === null) {
      return sendJson(socket, {
        kind: "waiting",
        message: "Not delivered: the agentlet is not connected",
      } satisfies AttachMessage);
    }
    if (this.#agentlet.bufferedAmount > MAX_INPUT_WAITING_BYTES)
      return closeSocket(socket, CloseCode.tooLarge, "Too much input waits for the agentlet");
    this.#command({ kind: "attach_input", attach: person.attach, data: bytes.toString("base64") });
    person.typedBytes += bytes.length;
    if (person.typedBytes > INPUT_WINDOW_BYTES) socket.pause();
  }

  /** The agentlet has passed on some of what a person typed. */
  taken(attach: string, bytes: number): void {
    const person = this.#personWith(attach);
    if (person !== undefined) this.#taken(person, bytes);
  }

  resize(socket: WebSocket, size: { cols: number; rows: number }): void {
    const person = this.#personAt(socket);
    if (person === undefined) return;
    person.size = size;
    // A window that only looks must not change the terminal of the one who works in it.
    if (person.write && person.attach !== null)
      this.#command({ kind: "attach_resize", attach: person.attach, ...size });
  }

  /** A snapshot or a close from the agentlet. */
  fromAgentlet(
    message: Extract<AgentletMessage, { kind: "attach_snapshot" | "attach_close" }>,
  ): void {
    const person = this.#personWith(message.attach);
    if (person === undefined) return;
    if (message.kind === "attach_close") {
      person.attach = null;
      return this.#end(person, message.reason, message.goesOn);
    }
    if (person.lag !== null) return;
    const { offset, cols, rows, data } = message;
    person.awaitsSnapshot = false;
    // A window that falls behind gets its screen again, and not all that it has had above it.
    person.historyRows = 0;
    const isNewSize = person.shown?.cols !== cols || person.shown.rows !== rows;
    person.offset = offset;
    person.shown = { cols, rows };
    // An empty one only says that the stream goes on; after a reconnect the window has nothing to repaint.
    if (data !== "" || isNewSize)
      sendJson(person.socket, {
        kind: "snapshot",
        offset,
        cols,
        rows,
        data,
      } satisfies AttachMessage);
  }

  /** Terminal bytes from the agentlet: 8 bytes attach id, u64 offset, the bytes. False when it is none of that. */
  output(message: Buffer): boolean {
    if (message.length < 16) return false;
    const person = this.#personWith(message.subarray(0, 8).toString("hex"));
    if (person === undefined || person.lag !== null || person.awaitsSnapshot) return true;
    if (person.socket.bufferedAmount > MAX_WAITING_BYTES) {
      this.#lag(person);
      return true;
    }
    person.offset = Number(message.readBigUInt64LE(8)) + message.length - 16;
    if (person.socket.readyState === person.socket.OPEN) person.socket.send(message.subarray(8));
    return true;
  }

  /** The run is over: every window is told and closed. */
  end(reason: string): void {
    for (const person of this.#people) this.#end(person, reason);
  }

  /** Ends the shell itself, not only a window on it: now, or as soon as an agentlet is there. */
  closeShell(reason: string): void {
    this.#closing ??= reason;
    if (this.#shell !== null && this.#agentlet !== null)
      sendJson(this.#agentlet, {
        kind: "shell_close",
        grant_id: this.#shell.grant,
        reason,
      } satisfies AgentletCommand);
  }

  #taken(person: Person, bytes: number): void {
    person.typedBytes = Math.max(0, person.typedBytes - bytes);
    if (person.socket.isPaused && person.typedBytes <= INPUT_RESUME_BYTES) person.socket.resume();
  }

  #open(person: Person): void {
    if (this.#agentlet === null) return;
    const attach = this.#shell?.grant ?? randomBytes(8).toString("hex");
    person.attach = attach;
    person.awaitsSnapshot = person.offset === null;
    this.#command({
      kind: "attach_open",
      attach,
      write: person.write,
      fromOffset: person.offset,
      ...(person.historyRows > 0 && person.offset === null
        ? { historyRows: person.historyRows }
        : {}),
    });
    if (person.write && person.size !== null)
      this.#command({ kind: "attach_resize", attach, ...person.size });
  }

  /** Drops the output a slow window cannot take, and repaints it once it has taken what waits. */
  #lag(person: Person): void {
    this.#close(person, "the window is too slow; it gets a new snapshot");
    person.offset = null;
    const deadline = performance.now() + LAG_DEADLINE_MS;
    person.lag = setInterval(() => {
      if (performance.now() > deadline) {
        return closeSocket(person.socket, CloseCode.unavailable, "The window is too slow");
      }
      if (person.socket.bufferedAmount > RESUME_BYTES) return;
      if (person.lag !== null) clearInterval(person.lag);
      person.lag = null;
      this.#close(person, "the window takes more again");
      // It has a new name now; what was typed under the old one is not heard of any more.
      this.#taken(person, person.typedBytes);
      this.#open(person);
    }, LAG_POLL_MS);
  }

  #leave(person: Person): void {
    if (!this.#people.delete(person)) return;
    this.#shell?.onPeople(this.#people.size);
    if (person.lag !== null) clearInterval(person.lag);
    person.lag = null;
    this.#close(person, "the person left");
  }

  #close(person: Person, reason: string): void {
    if (person.attach !== null)
      this.#command({ kind: "attach_close", attach: person.attach, reason });
    person.attach = null;
  }

  /** `goesOn`: only this window ends. */
  #end(person: Person, reason: string, goesOn?: true): void {
    const ended = { kind: "ended" as const, reason };
    const message: AttachMessage = goesOn === true ? { ...ended, goesOn } : ended;
    sendJson(person.socket, message);
    closeSocket(person.socket, 1000, reason);
  }

  #wait(person: Person): void {
    sendJson(person.socket, {
      kind: "waiting",
      message: "The agentlet is not connected; waiting for it",
    } satisfies AttachMessage);
  }

  #command(command: AttachCommand | StopCommand): void {
    if (this.#agentlet === null) return;
    const said = this.#shell === null ? command : shellCommand(command, this.#shell);
    if (said !== null) sendJson(this.#agentlet, said);
  }

  #personAt(socket: WebSocket): Person | undefined {
    return [...this.#people].find((person) => person.socket === socket);
  }

  #personWith(attach: string): Person | undefined {
    return [...this.#people].find((person) => person.attach === attach);
  }
}

/** What is said of an attach, said of a shell. A window that goes leaves the shell open: `shell_close` ends it. */
function shellCommand(
  command: AttachCommand | StopCommand,
  { grant, argv, size }: ShellFacts,
): AgentletCommand | null {
  switch (command.kind) {
    case "attach_open":
      return {
        kind: "shell_open",
        grant_id: grant,
        ...size,
        argv,
        fromOffset: command.fromOffset,
      };
    case "attach_input":
      return { kind: "shell_input", grant_id: grant, data: command.data };
    case "attach_resize":
      return { kind: "shell_resize", grant_id: grant, cols: command.cols, rows: command.rows };
    case "attach_close":
    case "stop":
      return null;
  }
}
