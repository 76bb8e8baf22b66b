import timers from "node:timers/promises";
import type { RawData, WebSocket } from "ws";
import { Backoff } from "../kit/backoff.ts";
import { parseJson } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import { messageOf } from "../kit/platform-error.ts";
import { AgentletCommand } from "../protocol/agentlet-link.ts";
import type { AgentletEvent, AgentletMessage } from "../protocol/agentlet-link.ts";
import type { ManagerAddress } from "../protocol/manager-socket.ts";
import { CloseCode } from "../protocol/recording-link.ts";
import { PROTOCOL } from "../protocol/version.ts";
import type { AttachWire } from "./attachments.ts";
import { EventLog } from "./event-log.ts";

export const MANAGER_LIMITS = {
  messageBytes: 4 * 1024 * 1024,
  handshakeMs: 5000,
  pingMs: 5_000,
  backoffMinMs: 50,
  backoffMaxMs: 3000,
};

export interface ManagerLinkOptions {
  manager: ManagerAddress;
  run: string;
  token: string;
  epoch: number;
  log: Log;
  onCommand: (command: Exclude<AgentletCommand, { kind: "event_ack" }>) => void;
  /** A wire when the manager is connected, null when it is not. */
  onWire: (wire: AttachWire | null) => void;
}

/** The manager refuses this link for good: another epoch has taken over, or the versions differ. */
const FINAL_CODES: number[] = [CloseCode.fenced, CloseCode.protocolMismatch];

/** The way to the manager: events up until they are on disk there, commands down. The run goes on without it. */
export class ManagerLink implements AsyncDisposable {
  readonly #options: ManagerLinkOptions;
  readonly #log = new EventLog();
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #socket: WebSocket | null = null;
  #onEmpty: (() => void) | undefined;
  /** the next acknowledgement is the first of its connection: what the manager had before */
  #isWelcome = false;

  constructor(options: ManagerLinkOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  event(event: AgentletEvent): void {
    const numbered = this.#log.add(event);
    if (numbered !== null) this.#send({ kind: "event", ...numbered });
  }

  /** Waits until the manager has every event, at most `timeoutMs`. True when it has. */
  async flush(timeoutMs: number): Promise<boolean> {
    if (this.#log.size === 0) return true;
    const empty = Promise.withResolvers<void>();
    this.#onEmpty = empty.resolve;
    const over = new AbortController();
    await Promise.race([
      empty.promise,
      timers.setTimeout(timeoutMs, undefined, { signal: over.signal }).catch(() => undefined),
    ]);
    over.abort();
    return this.#log.size === 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#socket?.close(1000, "The run is over");
    const socket = this.#socket;
    const over = new AbortController();
    await Promise.race([
      this.#running,
      timers.setTimeout(500, undefined, { signal: over.signal }).catch(() => undefined),
    ]);
    over.abort();
    socket?.terminate();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    const { backoffMinMs, backoffMaxMs } = MANAGER_LIMITS;
    const backoff = new Backoff({ minMs: backoffMinMs, maxMs: backoffMaxMs });
    while (!signal.aborted) {
      const ended = await this.#connection(() => backoff.startOver());
      this.#socket = null;
      this.#options.onWire(null);
      if (signal.aborted) return;
      this.#options.log.debug({ code: ended.code, reason: ended.reason }, "manager link lost");
      if (FINAL_CODES.includes(ended.code)) {
        this.#options.log.warn(
          { code: ended.code, reason: ended.reason },
          "manager refuses this run",
        );
        return;
      }
      await backoff.wait(signal).catch(() => undefined);
    }
  }

  /** One connection from its beginning to its end. Never rejects. */
  async #connection(onOpen: () => void): Promise<{ code: number; reason: string }> {
    const { manager, run, token, epoch } = this.#options;
    // Loaded by the first connection, while the zone is being built.
    const { openManagerSocket } = await import("../protocol/manager-socket.ts");
    if (this.#closing.signal.aborted) return { code: 1000, reason: "The run is over" };
    const { promise, resolve } = Promise.withResolvers<{ code: number; reason: string }>();
    const socket = openManagerSocket(manager, `/v1/runs/${run}/agentlet`, token, {
      handshakeTimeout: MANAGER_LIMITS.handshakeMs,
      maxPayload: MANAGER_LIMITS.messageBytes,
    });
    this.#socket = socket;
    let alive = true;
    let problem = "";
    const ping = setInterval(() => {
      if (!alive) {
        socket.terminate();
        return;
      }
      alive = false;
      if (socket.readyState === socket.OPEN) socket.ping();
    }, MANAGER_LIMITS.pingMs);
    socket.on("pong", () => {
      alive = true;
    });
    socket.on("open", () => {
      onOpen();
      this.#isWelcome = true;
      this.#send({ kind: "hello", protocol: PROTOCOL, epoch });
      for (const numbered of this.#log.events) this.#send({ kind: "event", ...numbered });
      this.#options.onWire(this.#wire(socket));
    });
    socket.on("message", (data, isBinary) => {
      alive = true;
      try {
        this.#receive(data, isBinary);
      } catch (error) {
        this.#options.log.warn({ cause: messageOf(error) }, "bad message from the manager");
        socket.close(CloseCode.badMessage, "Message is not a command");
      }
    });
    socket.on("error", (error) => {
      problem = messageOf(error);
    });
    socket.on("close", (code, reason) => {
      clearInterval(ping);
      resolve({ code, reason: problem === "" ? reason.toString("utf8") : problem });
    });
    return promise;
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (isBinary || !Buffer.isBuffer(data)) throw new TypeError("Expected a text message");
    const command = parseJson("a command of the manager", AgentletCommand, data.toString("utf8"));
    if (command.kind !== "event_ack") {
      this.#options.onCommand(command);
      return;
    }
    const loss = this.#log.lossUpTo(command.seq, this.#isWelcome);
    this.#isWelcome = false;
    this.#log.forget(command.seq);
    if (loss !== null)
      this.event({ type: "notice", time: new Date().toISOString(), message: loss });
    if (this.#log.size === 0) this.#onEmpty?.();
  }

  #wire(socket: WebSocket): AttachWire {
    return {
      sendMessage: (message) => this.#send(message),
      sendBinary: (message, done) => {
        socket.send(message, { binary: true }, done);
      },
    };
  }

  #send(message: AgentletMessage): void {
    if (this.#socket === null || this.#socket.readyState !== this.#socket.OPEN) return;
    // A send that fails is followed by the socket's close; events are sent again then.
    this.#socket.send(JSON.stringify(message), () => undefined);
  }
}
