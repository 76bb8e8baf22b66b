import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { until } from "../../helpers/until.ts";
import { writeJsonLine } from "../../../src/kit/json-lines.ts";
import { RecorderReply, encodeFrame } from "../../../src/protocol/frames.ts";
import type { Frame } from "../../../src/protocol/frames.ts";
import { Challenge, macOf } from "../../../src/protocol/proof.ts";
import { createInterface } from "node:readline";

/** One proven connection to a frame or marker socket. */
export class Producer implements Disposable {
  readonly socket: Socket;
  readonly replies: RecorderReply[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
  }

  static async connect(
    path: string,
    token: string,
    role: "agentlet" | "runner" = "agentlet",
  ): Promise<Producer> {
    const socket = connect({ path });
    const producer = new Producer(socket);
    socket.on("error", () => undefined);
    await once(socket, "connect");
    const lines = createInterface({ input: socket });
    lines.on("error", () => undefined);
    const first = Promise.withResolvers<void>();
    socket.once("close", () => first.reject(new Error("closed before the challenge")));
    let proven = false;
    lines.on("line", (line) => {
      if (proven) {
        producer.replies.push(RecorderReply.parse(JSON.parse(line)));
        return;
      }
      const challenge = Challenge.parse(JSON.parse(line));
      writeJsonLine(socket, { protocol: 1, role, mac: macOf(token, role, challenge.nonce) });
      proven = true;
      first.resolve();
    });
    await first.promise;
    return producer;
  }

  send(frame: Frame): void {
    if (this.socket.writable) this.socket.write(encodeFrame(frame));
  }

  get acked(): number {
    let seq = 0;
    for (const reply of this.replies)
      if (reply.kind === "ack" || reply.kind === "welcome") seq = reply.seq;
    return seq;
  }

  async welcome(): Promise<Extract<RecorderReply, { kind: "welcome" }>> {
    await until("welcome", () => this.replies.length > 0 || this.socket.destroyed);
    const [first] = this.replies;
    if (first?.kind !== "welcome")
      throw new Error(`Expected welcome, got ${JSON.stringify(first)}`);
    return first;
  }

  has(kind: RecorderReply["kind"]): boolean {
    return this.replies.some((reply) => reply.kind === kind);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** Keeps frames until they are acknowledged and sends them again after each lost connection, as the agentlet does. */
export class ResendingProducer implements Disposable {
  readonly #path: string;
  readonly #token: string;
  readonly #frames: Frame[];
  sealed = false;
  #acked = 0;
  #closed = false;
  #producer: Producer | null = null;

  constructor(path: string, token: string, frames: Frame[]) {
    this.#path = path;
    this.#token = token;
    this.#frames = frames;
  }

  /** The last frame that the recorder made durable, over all connections. */
  get acked(): number {
    this.#acked = Math.max(this.#acked, this.#producer?.acked ?? 0);
    return this.#acked;
  }

  /** Resolves when the recorder has sealed. */
  async run(): Promise<void> {
    while (!this.sealed && !this.#closed) {
      try {
        await this.#once();
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#producer?.[Symbol.dispose]();
  }

  async #once(): Promise<void> {
    using producer = await Producer.connect(this.#path, this.#token);
    this.#producer = producer;
    const { seq } = await producer.welcome();
    for (const frame of this.#frames) {
      if (frame.seq <= seq || producer.socket.destroyed) continue;
      producer.send(frame);
      if (producer.socket.writableNeedDrain)
        await until("room", () => !producer.socket.writableNeedDrain || producer.socket.destroyed);
    }
    await until("sealed or closed", () => producer.has("sealed") || producer.socket.destroyed);
    this.sealed = producer.has("sealed");
    this.#acked = Math.max(this.#acked, producer.acked);
  }
}

/** Reads nothing and proves nothing. */
export async function connectMute(path: string): Promise<Socket> {
  const socket = connect({ path });
  socket.on("error", () => undefined);
  socket.resume();
  await once(socket, "connect");
  return socket;
}
