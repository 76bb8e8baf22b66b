import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { FrameReader, isBytesFrame } from "../../src/protocol/frames.ts";
import type { Frame } from "../../src/protocol/frames.ts";
import { Proof, isProven } from "../../src/protocol/proof.ts";
import { PROTOCOL } from "../../src/protocol/version.ts";

/** The recorder's side of the frame socket, in memory: proof, welcome, acknowledgements. What it keeps survives `kill`. */
export class SmallRecorder implements AsyncDisposable {
  readonly frames: Frame[] = [];
  readonly #path: string;
  readonly #token: string;
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  /** false: takes frames and says nothing, like a recorder with a full disk */
  acknowledges = true;

  constructor(path: string, token: string) {
    this.#path = path;
    this.#token = token;
  }

  get lastSeq(): number {
    return this.frames.at(-1)?.seq ?? 0;
  }

  output(): Buffer {
    return Buffer.concat(
      this.frames.flatMap((frame) =>
        isBytesFrame(frame) && frame.type === "output" ? [frame.bytes] : [],
      ),
    );
  }

  async start(): Promise<void> {
    await rm(this.#path, { force: true });
    this.#server = createServer((socket) => this.#serve(socket)).listen(this.#path);
    await once(this.#server, "listening");
  }

  /** As after kill -9: connections break, nobody listens. */
  async kill(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    for (const socket of this.#sockets) socket.destroy();
    if (server === null) return;
    server.close();
    await once(server, "close");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.#path, { force: true });
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined).on("close", () => this.#sockets.delete(socket));
    const nonce = randomBytes(32).toString("hex");
    const say = (reply: object) => socket.write(`${JSON.stringify(reply)}\n`);
    say({ protocol: PROTOCOL, nonce });
    const reader = new FrameReader();
    let proven = false;
    socket.on("data", (chunk) => {
      if (!proven) {
        const proof = Proof.parse(JSON.parse(chunk.toString("utf8")));
        if (!isProven(proof, this.#token, nonce)) {
          socket.destroy();
          return;
        }
        proven = true;
        say({
          kind: "welcome",
          seq: this.lastSeq,
          outputOffset: this.output().length,
          inputOffset: 0,
        });
        return;
      }
      let sealed = false;
      for (const frame of reader.push(chunk)) {
        if (frame.seq <= this.lastSeq) continue;
        this.frames.push(
          isBytesFrame(frame) ? { ...frame, bytes: Buffer.from(frame.bytes) } : frame,
        );
        sealed ||= frame.type === "exit";
      }
      if (!this.acknowledges) return;
      say({ kind: "ack", seq: this.lastSeq });
      if (sealed) say({ kind: "sealed" });
    });
  }
}
