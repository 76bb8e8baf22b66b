import { closeSync } from "node:fs";
import { constants } from "node:os";
import { getSystemErrorName } from "node:util";
import { type Watcher, native } from "./native.ts";
import { PlatformError, errnoOf } from "./platform-error.ts";

/** How a program under zone-init or tool-init ended. `failed`: it never ran; `lost`: its init is gone, so nobody knows. */
export type ProgramExit =
  | { kind: "exited"; code: number }
  | { kind: "signalled"; signal: string }
  | { kind: "failed"; errno: string; step: string }
  | { kind: "lost" };

export interface StartRequest {
  id: number;
  cwd: string;
  argv: string[];
  env: Record<string, string>;
  cols: number;
  rows: number;
  /** zone-init: its standard output is its own, and comes beside the terminal */
  outputApart?: boolean;
}

/** What a program writes when its standard output is its own. Descriptors that do not wait; their receiver owns them. */
export interface OwnOutput {
  /** to read it from */
  from: number;
  /** the terminal, to copy it to */
  to: number;
}

/** A number of setrlimit(2) and its value. */
export type Limit = readonly [resource: number, value: number];

/** What an init of ours could not do while it set its sandbox up. */
export interface SetUpFailure {
  errno: string;
  step: string;
  path: string;
}

export interface InitEvents {
  /** tool-init: its pid on the host */
  onPid?(pid: number): void;
  /** tool-init: nothing will run */
  onRefused?(failure: SetUpFailure): void;
  onListener(port: number, descriptor: number): void;
  onReady(): void;
  /** `master` is the PTY master for zone-init, null for tool-init. `output`: as it was asked for. */
  onStarted(id: number, pid: number, master: number | null, output: OwnOutput | null): void;
  onEnded(id: number, exit: ProgramExit): void;
  /** tool-init: the directory that its tool works in */
  onDirectory?(descriptor: number): void;
  /** The init is gone. The last event. */
  onClosed(): void;
}

/** The largest request, argv and environment together; `MAX_MESSAGE` in src/native/message.h. */
const MAX_REQUEST_BYTES = 192 * 1024;
/** ECONNRESET: the peer closed with messages of ours unread. */
const PEER_GONE = new Set(["EPIPE", "ECONNRESET"]);
const SIGNAL_NAMES = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number, name]),
);

/** Our end of the control socket of a zone-init or tool-init; docs/architecture.md has the messages. */
export class InitChannel {
  readonly #socket: number;
  readonly #watcher: Watcher;
  readonly #events: InitEvents;
  #closed = false;

  constructor(socket: number, events: InitEvents) {
    this.#socket = socket;
    this.#events = events;
    this.#watcher = new (native().Watcher)(socket, () => this.#receive());
    this.#watcher.watch(1);
  }

  /** Hears the init, or leaves what it says for later: a channel that is not watched keeps no process alive. */
  watch(isWatched = true): void {
    if (!this.#closed) this.#watcher.watch(isWatched ? 1 : 0);
  }

  /** tool-init: a file of this call alone, at a place that its sandbox has for it. */
  file(path: string, data: Buffer, mode: number): void {
    const head = Buffer.from("F\0\0", "latin1");
    head.writeUInt16LE(mode, 1);
    const descriptor = native().sealedFile("file", data);
    try {
      this.#send(Buffer.concat([head, Buffer.from(`${path}\0`)]), [descriptor]);
    } finally {
      closeSync(descriptor);
    }
  }

  /**
   * Asks for a program. With tool-init, `cols` has a bit for each of stdin, stdout and stderr that is one of `descriptors` and one (8)
   * for the wish to be given the directory, `rows` is 1 when binds follow, and `limits` (numbers of setrlimit(2) with their values) hold
   * for every process of the call. Throws `PlatformError` `request_too_large` above 192 KiB of argv and environment.
   */
  start(
    request: StartRequest,
    descriptors: readonly number[] = [],
    limits: readonly Limit[] | null = null,
  ): void {
    const head = Buffer.alloc(9);
    head.write(request.outputApart === true ? "O" : "S", 0, "latin1");
    head.writeUInt32LE(request.id, 1);
    head.writeUInt16LE(request.cols, 5);
    head.writeUInt16LE(request.rows, 7);
    const variables = Object.entries(request.env).map(([name, value]) => `${name}=${value}`);
    const words = [request.cwd, String(request.argv.length), ...request.argv, ...variables];
    if (words.some((word) => word.includes("\0"))) {
      throw new PlatformError(
        "bad_argument",
        "Expected arguments and environment without NUL bytes",
      );
    }
    const before = limits === null ? [] : [limitBytes(limits)];
    const message = Buffer.concat([...before, head, Buffer.from(`${words.join("\0")}\0`)]);
    if (message.length > MAX_REQUEST_BYTES) {
      throw new PlatformError(
        "request_too_large",
        `Arguments and environment are ${message.length} bytes; expected at most ${MAX_REQUEST_BYTES}`,
        { fix: "give long text in a file" },
      );
    }
    this.#send(message, descriptors);
  }

  /** Signals every process of the namespace but its init. Does nothing once the init is gone. */
  signalAll(signal: number): void {
    const message = Buffer.alloc(5);
    message.write("K", 0, "latin1");
    message.writeUInt32LE(signal, 1);
    this.#send(message);
  }

  /** Signals the process group of one program. Does nothing once it has ended. */
  signalProgram(id: number, signal: number): void {
    const message = Buffer.alloc(9);
    message.write("K", 0, "latin1");
    message.writeUInt32LE(signal, 1);
    message.writeUInt32LE(id, 5);
    this.#send(message);
  }

  /** Reads what the init has said so far, also while it is not watched. */
  hear(): void {
    this.#receive();
  }

  /** Reads what the init said before its end, then closes: its last word may still be in the socket when its end is known. */
  finish(): void {
    this.#receive();
    this.close();
  }

  /** Closes our end, which ends the init and its namespace. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watcher.close();
    closeSync(this.#socket);
    this.#events.onClosed();
  }

  /** A peer that is gone is told by `onClosed`, not by an error here. */
  #send(message: Buffer, descriptors: readonly number[] = []): void {
    if (this.#closed) return;
    try {
      native().send(this.#socket, message, descriptors);
    } catch (error) {
      if (!PEER_GONE.has(errnoOf(error) ?? "")) throw error;
    }
  }

  #receive(): void {
    while (!this.#closed) {
      const message = native().receive(this.#socket);
      if (message === null) return;
      if (message.data.length === 0) return this.close();
      this.#dispatch(message.data, message.descriptors);
    }
  }

  #dispatch(data: Buffer, descriptors: number[]): void {
    const kind = String.fromCharCode(data[0] ?? 0);
    const [descriptor, from, to] = descriptors;
    if (kind === "L" && data.length === 3 && descriptor !== undefined) {
      this.#events.onListener(data.readUInt16LE(1), descriptor);
    } else if (kind === "W" && descriptor !== undefined && this.#events.onDirectory) {
      this.#events.onDirectory(descriptor);
    } else if (kind === "R") {
      this.#events.onReady();
    } else if (kind === "P" && data.length === 9) {
      const output = from === undefined || to === undefined ? null : { from, to };
      const [id, pid] = [data.readUInt32LE(1), data.readUInt32LE(5)];
      this.#events.onStarted(id, pid, descriptor ?? null, output);
    } else if (kind === "X" && data.length === 9) {
      this.#events.onEnded(data.readUInt32LE(1), exitOf(data.readUInt32LE(5)));
    } else if (kind === "E" && data.length > 9) {
      const id = data.readUInt32LE(1);
      const errno = getSystemErrorName(-data.readUInt32LE(5));
      const [step = "", path = ""] = data.toString("utf8", 9).split("\0");
      if (id === 0 && this.#events.onRefused) this.#events.onRefused({ errno, step, path });
      else this.#events.onEnded(id, { kind: "failed", errno, step });
    } else if (kind === "C" && data.length === 5) {
      this.#events.onPid?.(data.readUInt32LE(1));
    } else {
      // Only our own program speaks here; anything else means it is not what we started.
      for (const stray of descriptors) closeSync(stray);
      this.close();
    }
  }
}

/** `M`: limits, with a program's request after them. */
function limitBytes(limits: readonly Limit[]): Buffer {
  const bytes = Buffer.alloc(2 + 12 * limits.length, "M", "latin1");
  bytes.writeUInt8(limits.length, 1);
  for (const [index, [resource, value]] of limits.entries()) {
    bytes.writeUInt32LE(resource, 2 + 12 * index);
    bytes.writeBigUInt64LE(BigInt(Math.floor(value)), 6 + 12 * index);
  }
  return bytes;
}

/** The raw status of waitpid(2). */
function exitOf(status: number): ProgramExit {
  const signal = status & 0x7f;
  if (signal === 0) return { kind: "exited", code: (status >> 8) & 0xff };
  return { kind: "signalled", signal: SIGNAL_NAMES.get(signal) ?? `SIG${signal}` };
}
