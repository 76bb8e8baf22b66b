import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocket, WebSocketServer } from "ws";

/** A request to become a WebSocket, as Node's HTTP server gives it. */
export interface Upgrade {
  request: IncomingMessage;
  stream: Duplex;
  head: Buffer;
}

/** A close frame holds at most this many bytes of reason. */
const MAX_REASON_BYTES = 123;
const CLOSE_GRACE_MS = 2000;
const PING_MS = 5000;
const DEAD_MS = 15_000;

/** Closes a socket and ends it when the peer does not answer the close within 2 s. */
export function closeSocket(socket: WebSocket, code: number, reason: string): void {
  if (socket.readyState === socket.CLOSED) return;
  // A paused socket would never read the peer's close frame.
  socket.resume();
  let text = reason;
  while (Buffer.byteLength(text) > MAX_REASON_BYTES) text = text.slice(0, -1);
  socket.close(code, text);
  const timer = setTimeout(() => socket.terminate(), CLOSE_GRACE_MS);
  timer.unref();
  socket.once("close", () => clearTimeout(timer));
}

const TOO_BIG = 1009;

/** A socket whose peer is told why when a message is larger than its server takes: ws closes with 1009 and no word. */
class SpokenSocket extends WebSocket {
  override close(code?: number, reason?: string | Buffer): void {
    super.close(
      code,
      reason ?? (code === TOO_BIG ? "The message is larger than is taken here" : ""),
    );
  }
}

/** What makes WebSockets of requests; a message of more than `maxPayload` bytes closes one with 1009. `choose` picks a subprotocol. */
export function openServer(
  maxPayload: number,
  choose?: (offered: Set<string>) => string | false,
): WebSocketServer {
  return new WebSocketServer({
    noServer: true,
    // Compression costs more memory and time than the loopback would gain.
    perMessageDeflate: false,
    clientTracking: false,
    maxPayload,
    WebSocket: SpokenSocket,
    ...(choose === undefined ? {} : { handleProtocols: choose }),
  });
}

/** Sends one JSON text message; a socket that is closing takes nothing. */
export function sendJson(socket: WebSocket, value: unknown): void {
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(value));
}

/** Resolves when fewer than `bytes` wait to be sent, or the socket is no longer open. ws has no event for it. */
export async function drained(
  socket: WebSocket,
  bytes: number,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted && socket.readyState === socket.OPEN && socket.bufferedAmount > bytes) {
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
  }
}

/** Pings every socket and ends those that were silent for 15 s: a half-open path shows no error by itself. */
export class Heartbeat implements Disposable {
  readonly #seen = new Map<WebSocket, number>();
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => this.#beat(), PING_MS);
    this.#timer.unref();
  }

  watch(socket: WebSocket): void {
    const seen = (): void => {
      this.#seen.set(socket, performance.now());
    };
    seen();
    socket.on("pong", seen);
    socket.on("ping", seen);
    socket.on("message", seen);
    socket.once("close", () => this.#seen.delete(socket));
  }

  get sockets(): Iterable<WebSocket> {
    return this.#seen.keys();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #beat(): void {
    const now = performance.now();
    for (const [socket, at] of this.#seen) {
      // While we do not read, we cannot see a pong.
      if (socket.isPaused) this.#seen.set(socket, now);
      else if (now - at > DEAD_MS) socket.terminate();
      else if (socket.readyState === socket.OPEN) socket.ping();
    }
  }
}
