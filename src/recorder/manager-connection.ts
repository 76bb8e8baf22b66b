import type { RawData, WebSocket } from "ws";
import { parseJson } from "../kit/json-lines.ts";
import { PlatformError, messageOf } from "../kit/platform-error.ts";
import type { ManagerAddress } from "../protocol/manager-socket.ts";
import { CloseCode, RecordingReply } from "../protocol/recording-link.ts";
import type { RecorderMessage } from "../protocol/recording-link.ts";
import type { Wake } from "./wake.ts";

/** The manager says `committed` every 5 s at the least; silence this long is a dead path, whatever the socket says. */
export const SILENCE_MS = 12_000;
const CONNECT_MS = 5000;
const MAX_REPLY_BYTES = 64 * 1024;

/** Thrown when the manager will not take this recording, now or later. Trying again does not help. */
export class FinalRefusalError extends PlatformError {}

/** Thrown when the manager is there and has no place for another recorder that catches up. */
export class ManagerBusyError extends PlatformError {
  /** The longest wait that it asks for. */
  readonly retryAfterMs: number;

  constructor(retryAfterMs: number) {
    super("manager_busy", "Too many recorders catch up at the manager");
    this.retryAfterMs = retryAfterMs;
  }
}

const FINAL_CLOSE = new Map<number, string>([
  [CloseCode.unauthorized, "recorder token refused"],
  [CloseCode.fenced, "another recorder has taken over this recording"],
  [CloseCode.protocolMismatch, "manager speaks another protocol version"],
]);
const FINAL_STATUS = new Set([401, 403, 426]);

interface Destination {
  manager: ManagerAddress;
  /** the run, or one of its shells */
  session: string;
  token: string;
  changed: Wake;
}

/** One WebSocket to the manager. What was sent is not delivered: only `committed` counts. */
export class ManagerConnection implements Disposable {
  /** rings when `committed`, `verdict` or `failure` changed */
  readonly changed: Wake;
  /** bytes that the manager durably has; null until it has said so */
  committed: number | null = null;
  /** checkpoints below this number are countersigned; null until the manager has said so */
  proven: number | null = null;
  verdict: Extract<RecordingReply, { kind: "verified" | "mismatch" }> | null = null;
  /** why the connection is over */
  failure: Error | null = null;
  readonly #socket: WebSocket;
  readonly #silence: NodeJS.Timeout;

  private constructor(socket: WebSocket, changed: Wake) {
    this.changed = changed;
    this.#socket = socket;
    this.#silence = setTimeout(() => {
      this.#fail(new Error(`Manager said nothing for ${SILENCE_MS / 1000} s`));
    }, SILENCE_MS);
    this.#socket.on("message", (data, isBinary) => this.#receive(data, isBinary));
    this.#socket.on("error", (error) => this.#fail(error));
    this.#socket.on("close", (code, reason) =>
      this.#fail(closeError(code, reason.toString("utf8"))),
    );
    this.#socket.on("unexpected-response", (request, response) => {
      const status = response.statusCode ?? 0;
      response.resume();
      request.destroy();
      const message = `Manager refused the connection with HTTP status ${status}`;
      this.#fail(
        FINAL_STATUS.has(status)
          ? new FinalRefusalError("recording_refused", message)
          : new Error(message),
      );
    });
  }

  /** Connects and says hello. Throws what ended the connection; `FinalRefusalError` when there is no use in trying again. */
  static async open(
    options: Destination & { hello: RecorderMessage },
    signal: AbortSignal,
  ): Promise<ManagerConnection> {
    // Loaded by whoever connects: a recorder is ready and takes frames before.
    const { openManagerSocket } = await import("../protocol/manager-socket.ts");
    signal.throwIfAborted();
    const { manager, session, token, changed } = options;
    const socket = openManagerSocket(manager, `/v1/recordings/${session}`, token, {
      handshakeTimeout: CONNECT_MS,
      maxPayload: MAX_REPLY_BYTES,
      // Masks keep scripts in browsers from fooling proxies; between our own programs they would only cost time, and a
      // copy of every message on both sides. A mask of zeros is one.
      generateMask: (mask) => mask.fill(0),
    });
    const connection = new ManagerConnection(socket, changed);
    connection.#socket.once("open", () => connection.say(options.hello));
    try {
      while (connection.committed === null) {
        if (connection.failure !== null) throw connection.failure;
        signal.throwIfAborted();
        await connection.changed.next;
      }
      return connection;
    } catch (error) {
      connection[Symbol.dispose]();
      throw error;
    }
  }

  say(message: RecorderMessage): void {
    if (this.failure === null) this.#socket.send(JSON.stringify(message), () => undefined);
  }

  /** Sends an append that is encoded already; `done` is called when its memory may be used again. */
  append(message: Buffer, done: () => void): void {
    if (this.failure === null) this.#socket.send(message, done);
    else done();
  }

  [Symbol.dispose](): void {
    this.#fail(new Error("Connection was closed here"));
  }

  #receive(data: RawData, isBinary: boolean): void {
    this.#silence.refresh();
    try {
      if (isBinary) throw new Error("Expected a text message of the manager, got a binary one");
      const text = Buffer.isBuffer(data) ? data.toString("utf8") : "";
      const reply = parseJson("a reply of the manager", RecordingReply, text);
      if (reply.kind === "proven") this.proven = reply.next;
      else if (reply.kind === "retry_after") throw new ManagerBusyError(reply.ms);
      else if (reply.kind !== "committed") this.verdict = reply;
      else if (reply.bytes < (this.committed ?? 0))
        throw new Error(`Manager had ${this.committed} bytes and now says ${reply.bytes}`);
      else this.committed = reply.bytes;
      this.changed.ring();
    } catch (error) {
      this.#fail(
        error instanceof ManagerBusyError ? error : new Error(messageOf(error), { cause: error }),
      );
    }
  }

  #fail(error: Error): void {
    if (this.failure !== null) return;
    this.failure = error;
    clearTimeout(this.#silence);
    // close() waits for an answer of the peer; there may be none.
    if (this.verdict === null) this.#socket.terminate();
    else {
      this.#socket.close(1000);
      setTimeout(() => this.#socket.terminate(), 500).unref();
    }
    this.changed.ring();
  }
}

function closeError(code: number, reason: string): Error {
  const meaning = FINAL_CLOSE.get(code);
  const said = reason === "" ? "" : `: ${reason}`;
  return meaning === undefined
    ? new Error(`Manager closed the connection with code ${code}${said}`)
    : new FinalRefusalError(
        "recording_refused",
        `Manager refused the recording, ${meaning}${said}`,
      );
}
