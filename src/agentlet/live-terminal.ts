import type { AgentletCommand } from "../protocol/agentlet-link.ts";
import type { RedactionSet } from "../kit/redaction-set.ts";
import { Attachments } from "./attachments.ts";
import type { AttachWire } from "./attachments.ts";
import type { PtySession, TerminalSize } from "./pty-session.ts";
import { machineClock } from "./states/clock.ts";
import { strangerOn } from "./states/foreground.ts";
import { LEASE_LIMITS } from "./states/input-lease.ts";
import type { RecorderLink } from "./recorder-link.ts";
import { ShownOutput } from "./shown-output.ts";
import { SuspendedProgram } from "./suspended-program.ts";
import type { ScreenView } from "./terminal-state.ts";
import { TerminalState } from "./terminal-state.ts";
import { WaitingInput } from "./waiting-input.ts";
import { TypedPastes } from "./typed-pastes.ts";

/** Fewer bytes that may begin a secret are shown at once: echo does not wait. The recorder waits for all of them. */
const ECHO_BYTES = 8;

export interface LiveTerminalOptions {
  size: TerminalSize;
  /** what viewers and screens do not show */
  redaction: RedactionSet;
  recorder: Pick<RecorderLink, "output" | "input" | "resize">;
  recordInput: boolean;
  /** pid namespaces between this process and the program; 1, a sandbox, unless given */
  namespaces?: number;
  /** The screen has changed. */
  onScreen: () => void;
  /** A person types: to be delivered at once or later; false when it can be taken neither now nor later, and is to be asked again. Unless given, at once. */
  onPersonTypes?: (bytes: Buffer, window: string, deliver: (bytes: Buffer) => void) => boolean;
  /** A viewer types and the program has stopped reading: its input queue is full, and what is typed is not taken. */
  onRefusedInput: () => void;
  /** A paste that a person began was ended for them, and why. */
  onPasteEnded?: (message: string) => void;
}

/**
 * Where the bytes of a run's terminal go: first to the recorder, which masks by itself, then masked to the ring that viewers and the
 * emulator read from.
 */
export class LiveTerminal implements Disposable {
  readonly #options: LiveTerminalOptions;
  readonly #shown: ShownOutput;
  readonly #state: TerminalState;
  readonly #attachments: Attachments;
  readonly #waiting = new WaitingInput((bytes, window) => this.#personTypes(bytes, window));
  /** of what waits, the first, as it is to be typed */
  #next: { bytes: Buffer; typed: Buffer } | null = null;
  readonly #pastes: TypedPastes;
  readonly #suspended = new SuspendedProgram({
    clock: machineClock,
    isLineMode: () => this.#pty?.isLineMode ?? false,
    wake: () => this.#pty?.wake(),
  });
  #size: TerminalSize;
  #pty: PtySession | null = null;
  #isOver = false;
  /** the size that somebody's window has had since before the program ran */
  #sizeToCome: TerminalSize | null = null;
  #refusing = false;

  constructor(options: LiveTerminalOptions) {
    this.#options = options;
    this.#size = options.size;
    this.#shown = new ShownOutput({
      redaction: options.redaction,
      cols: options.size.cols,
      showBelow: ECHO_BYTES,
      mayWait: () => this.#state.isFlooded && !this.#attachments.hasViewer,
    });
    const { ring } = this.#shown;
    this.#state = new TerminalState({
      ring,
      waiting: this.#shown,
      size: options.size,
      onReply: (bytes) => this.#answer(bytes),
      onAdvance: () => {
        this.#attachments.pump();
        options.onScreen();
      },
    });
    this.#pastes = new TypedPastes({
      clock: machineClock,
      type: (bytes) => this.#type(bytes),
      // What waits is still to come, also of a person who has gone.
      hasWriter: () => this.#attachments.hasWriter || !this.#waiting.isEmpty,
      onEnded: (message) => options.onPasteEnded?.(message),
    });
    this.#attachments = new Attachments({
      ring,
      snapshot: () => this.#state.snapshot(),
      snapshotWithHistory: (rows) => this.#state.snapshotWithHistory(rows),
      size: () => this.#size,
      type: (bytes, window, taken) => this.#waiting.push(bytes, window, taken),
      resize: (size) => this.#resize(size),
    });
  }

  /** Bytes of output so far. */
  get outputOffset(): number {
    return this.#shown.ring.end + this.#shown.waitingBytes;
  }

  /** Bytes of output that the screen shows. */
  get screenOffset(): number {
    return this.#state.parsedOffset;
  }

  get size(): TerminalSize {
    return this.#size;
  }

  get hasWriter(): boolean {
    return this.#attachments.hasWriter;
  }

  /** The program is inside a paste of a person, and takes whatever is typed for a part of it. */
  get isPasting(): boolean {
    return this.#pastes.isOpen;
  }

  /** The program's terminal, once it runs; null when it has ended. What people typed and resized before is for it. */
  use(pty: PtySession | null): void {
    this.#pty = pty;
    if (pty !== null) {
      pty.onTyped = () => this.#waiting.pump();
      if (this.#sizeToCome !== null) this.#resize(this.#sizeToCome);
      this.#waiting.pump();
      return;
    }
    this.#isOver = true;
    this.#waiting.clear();
    this.#next = null;
    this.#pastes.forget();
    this.#suspended[Symbol.dispose]();
    this.#shown.end();
    this.#advance();
  }

  /** From here on another set of secrets is masked. */
  redact(redaction: RedactionSet): void {
    this.#shown.use(redaction);
  }

  output(bytes: Buffer): void {
    this.#options.recorder.output(bytes);
    if (this.#shown.push(bytes)) this.#advance();
  }

  /** Types as automation does; false when the program is gone or does not read. */
  type(bytes: Buffer): boolean {
    return this.#type(bytes);
  }

  /** The name of the program that has the terminal, when it is not the one it was opened for; null when it is. */
  get stranger(): string | null {
    if (this.#pty === null) return "nobody";
    const { foregroundGroup, pid } = this.#pty;
    return strangerOn(foregroundGroup, pid, this.#options.namespaces ?? 1);
  }

  /** True once the program has read all that was typed. */
  get hasReadInput(): boolean {
    return this.#pty?.hasReadInput ?? true;
  }

  view(): ScreenView {
    return this.#state.view();
  }

  useWire(wire: AttachWire | null): void {
    this.#attachments.useWire(wire);
  }

  handle(command: Extract<AgentletCommand, { attach: string }>): void {
    // Who looks from now on sees all that is still here.
    if (command.kind === "attach_open") this.#shown.showAll();
    this.#attachments.handle(command);
  }

  /** Gives viewers the last bytes, for a short while, and says why the terminal is over. */
  async finish(reason: string): Promise<void> {
    await this.#attachments.finish(reason);
  }

  [Symbol.dispose](): void {
    this.#waiting[Symbol.dispose]();
    this.#pastes[Symbol.dispose]();
    this.#suspended[Symbol.dispose]();
    this.#attachments[Symbol.dispose]();
    this.#state[Symbol.dispose]();
  }

  /** False: the program does not run yet or does not read, or automation types; it waits, and is asked again. */
  #personTypes(bytes: Buffer, window: string): boolean {
    if (this.#pty === null) return this.#isOver;
    if (this.#next?.bytes !== bytes) this.#next = { bytes, typed: this.#pastes.sent(bytes) };
    const { typed } = this.#next;
    const isTaken = typed.length === 0 || this.#offer(typed, window);
    if (isTaken) this.#next = null;
    return isTaken;
  }

  #offer(typed: Buffer, window: string): boolean {
    const hasRoom = this.#pty?.hasRoom(typed.length + LEASE_LIMITS.heldBytes) ?? true;
    this.#tellRefusal(!hasRoom);
    if (!hasRoom) return false;
    const deliver = (taken: Buffer) => {
      this.#pastes.type(taken);
      this.#suspended.typed(taken);
    };
    const { onPersonTypes } = this.#options;
    if (onPersonTypes !== undefined) return onPersonTypes(typed, window, deliver);
    deliver(typed);
    return true;
  }

  /** The emulator is the one terminal that answers the program's queries; viewers never see one. */
  #answer(bytes: Buffer): void {
    this.#pty?.write(bytes);
  }

  #type(bytes: Buffer): boolean {
    if (this.#pty === null) return false;
    const isTaken = this.#pty.write(bytes);
    this.#tellRefusal(!isTaken);
    if (isTaken && this.#options.recordInput) this.#options.recorder.input(bytes);
    return isTaken;
  }

  /** Said once for each time the program stops reading, not for each key. */
  #tellRefusal(isRefused: boolean): void {
    if (isRefused && !this.#refusing) this.#options.onRefusedInput();
    this.#refusing = isRefused;
  }

  /** More is in the ring. */
  #advance(): void {
    this.#attachments.pump();
    this.#state.wake();
  }

  #resize(size: TerminalSize): void {
    this.#sizeToCome = this.#pty === null ? size : null;
    if (this.#pty?.resize(size) !== true) return;
    this.#size = size;
    this.#shown.resize(size.cols);
    this.#options.recorder.resize(size);
    this.#state.resize(size);
    this.#attachments.resized(size);
  }
}
