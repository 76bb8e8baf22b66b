import type { Duplex } from "node:stream";
import { MalformedMessage } from "./http-head.ts";

/** Bytes that may wait for their reader before the other side has to. */
const HIGH_WATER = 256 * 1024;
const HEAD_END = Buffer.from("\r\n\r\n");

/** A closed side's last bytes may take this long to be taken, and the other side this long to close its own. */
const FLUSH_MS = 60_000;
const LINGER_MS = 500;
const LINGER_BYTES = 1024 * 1024;

/** The other side was silent for as long as it may be. */
export class WireTimeout extends Error {
  override readonly name = "WireTimeout";
}

/** The head of a message is larger than it may be. */
export class HeadTooLarge extends MalformedMessage {}

/** The connection ended, by whichever side. `code` as in an errno. */
export class WireClosed extends Error {
  override readonly name = "WireClosed";
  readonly code: string | undefined;

  constructor(cause?: NodeJS.ErrnoException) {
    super("The connection was closed", cause === undefined ? {} : { cause });
    this.code = cause?.code;
  }
}

/**
 * A byte stream that is read when somebody asks, and written with an eye on what waits. One reader at a time. It owns the socket's
 * events; `release` gives them back.
 */
export class Wire {
  readonly socket: Duplex;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #hasEnded = false;
  #fault: WireClosed | null = null;
  #wake: (() => void) | null = null;
  readonly #onData = (bytes: Buffer): void => {
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    if (this.#heldBytes > HIGH_WATER) this.socket.pause();
    this.#notify();
  };
  readonly #onEnd = (): void => {
    this.#hasEnded = true;
    this.#notify();
  };
  readonly #onError = (error: NodeJS.ErrnoException): void => {
    this.#fault ??= new WireClosed(error);
    this.socket.destroy();
    this.#notify();
  };
  readonly #onClose = (): void => {
    // After a proper end there may still be bytes to read.
    if (!this.#hasEnded) this.#fault ??= new WireClosed();
    this.#hasEnded = true;
    this.#notify();
    this.#ended.resolve();
    this.onClose?.();
  };
  readonly #ended = Promise.withResolvers<void>();
  /** Called once when the socket is closed, besides what readers and writers hear. */
  onClose: (() => void) | null = null;

  constructor(socket: Duplex) {
    this.socket = socket;
    if (socket.destroyed) this.#onClose();
    socket.on("data", this.#onData).on("end", this.#onEnd);
    socket.on("error", this.#onError).on("close", this.#onClose);
  }

  /** Settles when the socket is closed. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Nothing was said, nothing was ended: as good as new. */
  get isQuiet(): boolean {
    return this.#heldBytes === 0 && !this.#hasEnded && !this.socket.destroyed;
  }

  /** The next bytes, at once if some are here; null at the end. Throws `WireTimeout` and `WireClosed`. */
  async read(timeoutMs: number): Promise<Buffer | null> {
    if (this.#heldBytes === 0) await this.#something(timeoutMs);
    return this.#take();
  }

  /** A message's head without its empty line; what follows stays. Null when the end came before any byte. */
  async readHead(
    limit: number,
    timeoutMs: number,
    idleMs: number = timeoutMs,
  ): Promise<string | null> {
    let bytes = await this.read(idleMs);
    if (bytes === null) return null;
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const end = bytes.indexOf(HEAD_END);
      if (end > limit || (end === -1 && bytes.length > limit)) throw new HeadTooLarge("too large");
      if (end !== -1) {
        this.putBack(bytes.subarray(end + HEAD_END.length));
        return bytes.toString("latin1", 0, end);
      }
      let more: Buffer | null;
      try {
        more = await this.read(Math.max(1, deadline - performance.now()));
      } catch (error) {
        this.putBack(bytes);
        throw error;
      }
      if (more === null) throw new MalformedMessage("the connection ended inside a head");
      bytes = Buffer.concat([bytes, more]);
    }
  }

  /** Bytes that were read and belong to what comes next. */
  putBack(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#held.unshift(bytes);
    this.#heldBytes += bytes.length;
  }

  /** Writes; resolves when there is room for more. Throws `WireClosed`. */
  async write(bytes: Buffer | string): Promise<void> {
    if (this.socket.destroyed) throw this.#fault ?? new WireClosed();
    if (this.socket.write(bytes, "latin1")) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.socket.once("drain", resolve).once("close", resolve);
    await promise;
    this.socket.off("drain", resolve).off("close", resolve);
    if (this.socket.destroyed) throw this.#fault ?? new WireClosed();
  }

  /**
   * Ends the connection, after a last text. What the other side still sends is read and dropped for a moment, so that it sees the
   * text and not a reset.
   */
  close(text = ""): void {
    const { socket } = this;
    if (socket.destroyed || !socket.writable) {
      socket.destroy();
      return;
    }
    socket.off("data", this.#onData);
    let dropped = 0;
    socket.on("data", (bytes: Buffer) => {
      dropped += bytes.length;
      if (dropped > LINGER_BYTES) socket.pause();
    });
    let timer = setTimeout(() => socket.destroy(), FLUSH_MS);
    socket.once("finish", () => {
      clearTimeout(timer);
      timer = setTimeout(() => socket.destroy(), LINGER_MS);
    });
    socket.once("close", () => clearTimeout(timer));
    socket.end(text, "latin1");
    socket.resume();
  }

  /** Gives the socket away, paused, with what was not read put back into it. */
  release(): Duplex {
    const { socket } = this;
    socket.pause();
    socket.off("data", this.#onData).off("end", this.#onEnd);
    socket.off("error", this.#onError).off("close", this.#onClose);
    const rest = this.#take();
    if (rest !== null) socket.unshift(rest);
    return socket;
  }

  #take(): Buffer | null {
    if (this.#heldBytes === 0) return null;
    const bytes = this.#held.length === 1 ? (this.#held[0] as Buffer) : Buffer.concat(this.#held);
    const wasFull = this.#heldBytes > HIGH_WATER;
    this.#held = [];
    this.#heldBytes = 0;
    if (wasFull) this.socket.resume();
    return bytes;
  }

  async #something(timeoutMs: number): Promise<void> {
    if (this.#fault !== null) throw this.#fault;
    if (this.#hasEnded) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(() => reject(new WireTimeout("silent for too long")), timeoutMs);
    this.#wake = resolve;
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#wake = null;
    }
    if (this.#heldBytes === 0 && this.#fault !== null) throw this.#fault;
  }

  #notify(): void {
    this.#wake?.();
  }
}
