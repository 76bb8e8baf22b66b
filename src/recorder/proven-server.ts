import { randomBytes } from "node:crypto";
import { chmod, unlink } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { once } from "node:events";
import { parseJson, writeJsonLine } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import { PlatformError, errnoOf, messageOf } from "../kit/platform-error.ts";
import { Proof, isProven } from "../protocol/proof.ts";
import type { Challenge } from "../protocol/proof.ts";
import { PROTOCOL } from "../protocol/version.ts";

/** An answer to the challenge that is later than this closes the connection. */
const PROOF_MS = 2000;
const MAX_PROOF_BYTES = 1024;
/** Connections that have not proven themselves; beyond it the oldest is closed, so that they never shut out the real one. */
const MAX_UNPROVEN = 32;

export interface ProvenServerOptions {
  path: string;
  role: Proof["role"];
  token: string;
  /** permissions of the socket; in a pod other users connect, and prove themselves. Default 0600 */
  mode?: number;
  log: Log;
  /** Called with a connection that has proven its role. Its listeners for data come from here; errors are swallowed. */
  onProven(socket: Socket, proof: Proof): void;
}

/** A unix socket whose clients prove a token before anything else is read of them. Others are closed and counted. */
export class ProvenServer implements AsyncDisposable {
  /** connections closed for want of a proof */
  unproven = 0;
  readonly #options: ProvenServerOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #waiting = new Set<Socket>();

  private constructor(options: ProvenServerOptions) {
    this.#options = options;
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
      // An error is followed by close; whoever reads the socket sees that.
      socket.on("error", () => undefined);
      this.#challenge(socket);
    });
  }

  /** Listens, in place of what a dead predecessor left. Throws `socket_failed` with the path. */
  static async listen(options: ProvenServerOptions): Promise<ProvenServer> {
    const server = new ProvenServer(options);
    try {
      await unlink(options.path).catch((error: unknown) => {
        if (errnoOf(error) !== "ENOENT") throw error;
      });
      const listening = once(server.#server, "listening");
      server.#server.listen({ path: options.path });
      await listening;
      server.#server.on("error", (error) =>
        options.log.warn({ err: error }, "socket cannot accept"),
      );
      await chmod(options.path, options.mode ?? 0o600);
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw new PlatformError("socket_failed", `Cannot listen: ${messageOf(error)}`, {
        path: options.path,
        cause: error,
      });
    }
  }

  /** Stops listening and closes every connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    await closed;
  }

  #challenge(socket: Socket): void {
    const [oldest] = this.#waiting;
    if (this.#waiting.size >= MAX_UNPROVEN && oldest !== undefined) this.#refuse(oldest);
    this.#waiting.add(socket);
    const challenge: Challenge = { protocol: PROTOCOL, nonce: randomBytes(32).toString("hex") };
    const timer = setTimeout(() => this.#refuse(socket), PROOF_MS);
    let held: Buffer = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      held = Buffer.concat([held, chunk]);
      const end = held.indexOf(10);
      if (end === -1 && held.length <= MAX_PROOF_BYTES) return;
      if (end === -1 || end > MAX_PROOF_BYTES) {
        this.#refuse(socket);
        return;
      }
      socket.pause();
      socket.off("data", onData);
      const proof = this.#accepted(held.toString("utf8", 0, end), challenge, socket);
      if (proof === null) return;
      clearTimeout(timer);
      this.#waiting.delete(socket);
      if (held.length > end + 1) socket.unshift(held.subarray(end + 1));
      this.#options.onProven(socket, proof);
    };
    socket.on("data", onData);
    socket.once("close", () => {
      clearTimeout(timer);
      this.#refuse(socket);
    });
    writeJsonLine(socket, challenge);
  }

  #accepted(line: string, challenge: Challenge, socket: Socket): Proof | null {
    const { role, token } = this.#options;
    try {
      const proof = parseJson("a proof", Proof, line);
      if (proof.role === role && isProven(proof, token, challenge.nonce)) {
        if (proof.protocol === PROTOCOL) return proof;
        const message = `Expected protocol ${PROTOCOL}, got ${proof.protocol}; install the same version of agentkube on both sides`;
        writeJsonLine(socket, { kind: "refused", code: "protocol_mismatch", message });
        socket.destroySoon();
        return null;
      }
    } catch {
      // Not a proof: refused like a wrong one.
    }
    this.#refuse(socket);
    return null;
  }

  #refuse(socket: Socket): void {
    socket.destroy();
    if (!this.#waiting.delete(socket)) return;
    this.unproven += 1;
    const { unproven } = this;
    if (unproven === 1 || unproven % 100 === 0)
      this.#options.log.warn({ role: this.#options.role, unproven }, "unproven connection closed");
  }
}
