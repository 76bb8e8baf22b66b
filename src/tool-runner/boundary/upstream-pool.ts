import http from "node:http";
import type { Socket } from "node:net";
import { dial, type DialTarget } from "./dial.ts";

/** How long an upstream connection is kept for the next request of the same call. */
const IDLE_MS = 30_000;
const MAX_SOCKETS = 64;
const MAX_IDLE = 8;

/**
 * The upstream connections of one call (or of the model gateway) to one host and port. Connections are never shared with another
 * pool, so nothing that one call left on a connection meets another call's request.
 */
export class UpstreamPool extends http.Agent {
  readonly #target: DialTarget;
  readonly #closing = new AbortController();
  #session: Buffer | undefined;

  constructor(target: DialTarget) {
    super({ keepAlive: true, maxSockets: MAX_SOCKETS, maxFreeSockets: MAX_IDLE, timeout: IDLE_MS });
    this.#target = target;
  }

  get target(): DialTarget {
    return this.#target;
  }

  override createConnection(
    _options: http.ClientRequestArgs,
    callback?: (error: Error | null, socket: Socket) => void,
  ): undefined {
    void this.#connect(callback ?? (() => {}));
    return undefined;
  }

  async #connect(callback: (error: Error | null, socket: Socket) => void): Promise<void> {
    let socket: Socket;
    try {
      socket = await dial({ ...this.#target, session: this.#session }, this.#closing.signal);
    } catch (error) {
      // The agent takes an error alone; its type insists on a socket.
      callback(error as Error, undefined as unknown as Socket);
      return;
    }
    socket.on("session", (session: Buffer) => {
      this.#session = session;
    });
    callback(null, socket);
  }

  /** Ends every connection at once, also those that are being made. */
  override destroy(): void {
    this.#closing.abort();
    super.destroy();
  }
}
