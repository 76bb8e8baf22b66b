import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";
import type { WebSocket } from "ws";
import { RecorderMessage, decodeAppend } from "../../../src/protocol/recording-link.ts";
import type { RecordingReply } from "../../../src/protocol/recording-link.ts";

/** The manager's end of the recording link, in memory: appends at the committed offset only. */
export class SmallManager implements AsyncDisposable {
  data: Buffer = Buffer.alloc(0);
  #parts: Buffer[] = [];
  committed = 0;
  connections = 0;
  wrongOffsets = 0;
  verdict: "verified" | "mismatch" | null = null;
  /** refuse every hello with this code */
  refuseWith: number | null = null;
  /** take appends, but answer nothing */
  mute = false;
  /** close the connection after this many more appends */
  closeAfter = Infinity;
  authorization: string | undefined;
  #http = createServer();
  #sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  port = 0;

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async listen(): Promise<this> {
    this.#http = createServer();
    this.#sockets = new WebSocketServer({ server: this.#http, perMessageDeflate: false });
    this.#sockets.on("error", () => undefined);
    this.#sockets.on("connection", (socket, request) => {
      this.connections += 1;
      this.authorization = request.headers.authorization;
      this.#serve(socket);
    });
    this.#http.listen(this.port, "127.0.0.1");
    await once(this.#http, "listening");
    this.port = (this.#http.address() as AddressInfo).port;
    return this;
  }

  /** Gone at once, as after kill -9; what was committed stays. */
  async stop(): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#http.closeAllConnections();
    this.#http.close();
    await once(this.#http, "close");
  }

  get bytes(): Buffer {
    this.data = Buffer.concat([this.data, ...this.#parts]);
    this.#parts = [];
    return this.data;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#http.listening) await this.stop();
  }

  #serve(socket: WebSocket): void {
    const say = (reply: RecordingReply): void => {
      if (!this.mute) socket.send(JSON.stringify(reply));
    };
    socket.on("error", () => undefined);
    socket.on("message", (data, isBinary) => {
      if (isBinary && Buffer.isBuffer(data)) {
        const append = decodeAppend(data);
        if (append === null || socket.readyState !== socket.OPEN) return;
        if (append.offset === this.committed) {
          this.#parts.push(Buffer.from(append.bytes));
          this.committed += append.bytes.length;
        } else this.wrongOffsets += 1;
        say({ kind: "committed", bytes: this.committed });
        this.closeAfter -= 1;
        if (this.closeAfter <= 0) {
          this.closeAfter = Infinity;
          socket.terminate();
        }
        return;
      }
      const message = RecorderMessage.parse(
        JSON.parse(Buffer.isBuffer(data) ? data.toString("utf8") : ""),
      );
      if (message.kind === "hello") {
        if (this.refuseWith !== null) socket.close(this.refuseWith, "Refused for the test");
        else say({ kind: "committed", bytes: this.committed });
        return;
      }
      if (message.kind === "checkpoint") return;
      const sha256 = createHash("sha256").update(this.bytes).digest("hex");
      const same = message.bytes === this.committed && message.sha256 === sha256;
      this.verdict = same ? "verified" : "mismatch";
      say({ kind: this.verdict, bytes: this.committed, sha256 });
    });
  }
}
