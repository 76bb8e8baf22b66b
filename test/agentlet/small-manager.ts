import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";
import type { WebSocket } from "ws";
import { AgentletMessage } from "../../src/protocol/agentlet-link.ts";
import type { AgentletCommand, AgentletEvent } from "../../src/protocol/agentlet-link.ts";

/** The manager's side of the agentlet link, in memory. */
export class SmallManager implements AsyncDisposable {
  readonly events: { seq: number; event: AgentletEvent }[] = [];
  readonly messages: AgentletMessage[] = [];
  readonly authorizations: (string | undefined)[] = [];
  /** bytes of attach streams, by attach id */
  readonly streams = new Map<string, Buffer>();
  #server: WebSocketServer | null = null;
  #socket: WebSocket | null = null;
  #port = 0;

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<void> {
    const server = new WebSocketServer({ host: "127.0.0.1", port: this.#port });
    await once(server, "listening");
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
    server.on("connection", (socket, request) => {
      this.#socket = socket;
      this.authorizations.push(request.headers.authorization);
      socket.on("error", () => undefined);
      socket.on("message", (data: Buffer, isBinary) => {
        if (isBinary) this.#stream(data);
        else this.#message(socket, AgentletMessage.parse(JSON.parse(data.toString("utf8"))));
      });
    });
  }

  command(command: AgentletCommand): void {
    this.#socket?.send(JSON.stringify(command));
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    for (const client of server.clients) client.terminate();
    server.close();
    await once(server, "close");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #message(socket: WebSocket, message: AgentletMessage): void {
    this.messages.push(message);
    if (message.kind !== "event") return;
    const last = this.events.at(-1)?.seq ?? 0;
    if (message.seq > last) this.events.push({ seq: message.seq, event: message.event });
    socket.send(JSON.stringify({ kind: "event_ack", seq: message.seq }));
  }

  #stream(data: Buffer): void {
    const id = data.toString("hex", 0, 8);
    this.streams.set(
      id,
      Buffer.concat([this.streams.get(id) ?? Buffer.alloc(0), data.subarray(16)]),
    );
  }
}
