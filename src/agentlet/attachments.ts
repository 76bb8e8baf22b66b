import { setTimeout as delay } from "node:timers/promises";
import { ViewerFilter } from "../kit/viewer-filter.ts";
import type { AgentletCommand, AgentletMessage } from "../protocol/agentlet-link.ts";
import type { OutputRing } from "./output-ring.ts";
import type { TerminalSize } from "./pty-session.ts";
import { areKeys } from "./states/input-lease.ts";
import type { Snapshot } from "./terminal-state.ts";

export const ATTACH_LIMITS = {
  attaches: 64,
  /** bytes on their way to the manager for one attach; the rest waits in the ring, and what leaves the ring is a new snapshot */
  inFlightBytes: 256 * 1024,
  pieceBytes: 64 * 1024,
  resizeDebounceMs: 30,
  finishMs: 1000,
};

/** The way to the manager, as far as attaches need it. `done` is called when the message left this process, or never can. */
export interface AttachWire {
  sendMessage(message: AgentletMessage): void;
  sendBinary(message: Buffer, done: () => void): void;
}

export interface AttachTerminal {
  ring: OutputRing;
  /** Null while the emulator is too far behind. */
  snapshot(): Snapshot | null;
  snapshotWithHistory(rows: number): Promise<Snapshot | null>;
  size(): TerminalSize;
  /** Types what the viewer of a window sent, as soon as it can be; `taken` is called then. False, and nothing is taken, when too much waits. */
  type(bytes: Buffer, window: string, taken: () => void): boolean;
  resize(size: TerminalSize): void;
}

interface Attach {
  id: string;
  write: boolean;
  /** where its stream goes on; null: a snapshot comes first */
  next: number | null;
  inFlight: number;
  size: TerminalSize | null;
  filter: ViewerFilter;
}

type AttachCommand = Extract<
  AgentletCommand,
  { kind: "attach_open" | "attach_input" | "attach_resize" | "attach_close" }
>;

/**
 * Viewers of the terminal. Each streams from the ring at its own pace and never slows the terminal or the recorder: a viewer
 * that falls behind the ring gets a fresh snapshot. The viewer that typed last decides the size; one that only looks never does.
 */
export class Attachments implements Disposable {
  readonly #terminal: AttachTerminal;
  readonly #attaches = new Map<string, Attach>();
  #wire: AttachWire | null = null;
  #leader: string | null = null;
  #resizeTimer: NodeJS.Timeout | undefined;

  constructor(terminal: AttachTerminal) {
    this.#terminal = terminal;
  }

  /** True while somebody is attached who may type. */
  get hasWriter(): boolean {
    return this.#attaches.values().some((attach) => attach.write);
  }

  /** True while somebody is attached, to look or to type. */
  get hasViewer(): boolean {
    return this.#attaches.size > 0;
  }

  /** The manager is there (again), or gone: then every attach is over, and the manager opens them anew. */
  useWire(wire: AttachWire | null): void {
    this.#wire = wire;
    this.#attaches.clear();
    this.#leader = null;
  }

  handle(command: AttachCommand): void {
    if (command.kind === "attach_open") {
      this.#open(command);
      return;
    }
    const attach = this.#attaches.get(command.attach);
    if (attach === undefined) return;
    if (command.kind === "attach_close") {
      this.#attaches.delete(attach.id);
      if (this.#leader === attach.id) this.#chooseLeader();
    } else if (attach.write && command.kind === "attach_input") {
      const bytes = Buffer.from(command.data, "base64");
      // What a window says by itself, of its focus or the mouse above it, is no sign of who works.
      if (areKeys(bytes)) this.#lead(attach);
      const isTaken = this.#terminal.type(bytes, attach.id, () => {
        const message = { attach: attach.id, bytes: bytes.length };
        this.#wire?.sendMessage({ kind: "attach_taken", ...message });
      });
      // With a hole in it what follows would mean something else: nothing more comes from this viewer.
      if (!isTaken)
        this.#refuse(attach, "The program does not read, and no more of your input can wait");
    } else if (attach.write && command.kind === "attach_resize") {
      attach.size = { cols: command.cols, rows: command.rows };
      if (this.#leader === null || this.#leader === attach.id) this.#lead(attach);
    }
  }

  /** New output is in the ring, or the emulator has come further. */
  pump(): void {
    if (this.#wire === null || this.#attaches.size === 0) return;
    for (const attach of this.#attaches.values()) this.#stream(attach);
  }

  /** The terminal has another size: every viewer is told, in its place in the stream. */
  resized(size: TerminalSize): void {
    for (const { id, next } of this.#attaches.values())
      if (next !== null) this.#tellSize(id, next, size);
  }

  /** Waits until every viewer's last byte is on its way, at most a second, then closes them all. */
  async finish(reason: string): Promise<void> {
    const end = performance.now() + ATTACH_LIMITS.finishMs;
    const isBehind = (attach: Attach) =>
      attach.next !== this.#terminal.ring.end || attach.inFlight > 0;
    while (this.#attaches.values().some(isBehind) && performance.now() < end) {
      this.pump();
      await delay(10);
    }
    for (const { id } of this.#attaches.values())
      this.#wire?.sendMessage({ kind: "attach_close", attach: id, reason });
    this.#attaches.clear();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#resizeTimer);
    this.useWire(null);
  }

  #open(command: Extract<AttachCommand, { kind: "attach_open" }>): void {
    const { ring } = this.#terminal;
    const from = command.fromOffset;
    const held = from !== null && from >= ring.start && from <= ring.end;
    const attach: Attach = {
      id: command.attach,
      write: command.write,
      next: held ? from : null,
      inFlight: 0,
      size: null,
      filter: new ViewerFilter(),
    };
    if (this.#attaches.size >= ATTACH_LIMITS.attaches) {
      this.#refuse(attach, `More than ${ATTACH_LIMITS.attaches} viewers are attached`);
      return;
    }
    this.#attaches.set(attach.id, attach);
    if (held) {
      // Where it stopped may lie inside a sequence: its terminal and this filter go on from there.
      const known = Math.max(ring.start, from - ATTACH_LIMITS.pieceBytes);
      attach.filter.skip(ring.slice(known, from - known));
      this.#tellSize(attach.id, from, this.#terminal.size());
    }
    this.#stream(attach);
    const rows = command.historyRows ?? 0;
    if (rows > 0 && !held) void this.#sendHistory(attach, rows);
  }

  /** The screen was there at once; it is painted again below its history. */
  async #sendHistory(attach: Attach, rows: number): Promise<void> {
    const snapshot = await this.#terminal.snapshotWithHistory(rows);
    if (snapshot === null || this.#attaches.get(attach.id) !== attach) return;
    this.#sendSnapshot(attach, snapshot);
    this.#stream(attach);
  }

  #sendSnapshot(attach: Attach, snapshot: Snapshot): void {
    this.#wire?.sendMessage({ kind: "attach_snapshot", attach: attach.id, ...snapshot });
    attach.next = snapshot.offset;
    attach.filter = new ViewerFilter();
  }

  /** A snapshot without a screen: the stream goes on at `offset`, on a terminal of this size. */
  #tellSize(attach: string, offset: number, { cols, rows }: TerminalSize): void {
    const message = { attach, offset, cols, rows, data: "" };
    this.#wire?.sendMessage({ kind: "attach_snapshot", ...message });
  }

  #stream(attach: Attach): void {
    const { ring } = this.#terminal;
    while (this.#wire !== null && attach.inFlight < ATTACH_LIMITS.inFlightBytes) {
      if (attach.next === null || attach.next < ring.start) {
        attach.next = null;
        const snapshot = this.#terminal.snapshot();
        if (snapshot === null) return;
        this.#sendSnapshot(attach, snapshot);
      }
      if (attach.next === null || attach.next === ring.end) return;
      const message = ring.slice(attach.next, ATTACH_LIMITS.pieceBytes, 16);
      attach.filter.push(message.subarray(16));
      message.write(attach.id, 0, 8, "hex");
      message.writeBigUInt64LE(BigInt(attach.next), 8);
      attach.next += message.length - 16;
      attach.inFlight += message.length;
      this.#wire.sendBinary(message, () => {
        attach.inFlight -= message.length;
        if (this.#attaches.get(attach.id) === attach) this.#stream(attach);
      });
    }
  }

  /** Closes this viewer's window; the terminal goes on. */
  #refuse(attach: Attach, reason: string): void {
    this.#attaches.delete(attach.id);
    if (this.#leader === attach.id) this.#chooseLeader();
    this.#wire?.sendMessage({ kind: "attach_close", attach: attach.id, reason, goesOn: true });
  }

  #lead(attach: Attach): void {
    const isNew = this.#leader !== attach.id;
    this.#leader = attach.id;
    if (isNew) {
      // Kept in the order of their activity, so that the one before leads when this one leaves.
      this.#attaches.delete(attach.id);
      this.#attaches.set(attach.id, attach);
    }
    this.#scheduleResize();
  }

  #chooseLeader(): void {
    const last = [...this.#attaches.values()].findLast(
      (attach) => attach.write && attach.size !== null,
    );
    this.#leader = last?.id ?? null;
    this.#scheduleResize();
  }

  /** A window that is dragged sends many sizes; the program should redraw for the last. */
  #scheduleResize(): void {
    this.#resizeTimer ??= setTimeout(() => {
      this.#resizeTimer = undefined;
      const size = this.#leader === null ? null : this.#attaches.get(this.#leader)?.size;
      if (size !== null && size !== undefined) this.#terminal.resize(size);
    }, ATTACH_LIMITS.resizeDebounceMs);
  }
}
