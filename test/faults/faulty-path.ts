import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";

export interface PathFaults {
  /** bytes towards the manager after which this connection is cut; null: never */
  cutAfter: number | null;
  /** what comes is swallowed, and nothing is closed */
  swallow: { up: boolean; down: boolean };
  delayMs: number;
  /** each piece towards the manager with this chance: not sent, sent twice, sent after the next one */
  lose: number;
  repeat: number;
  swap: number;
}

const NONE: PathFaults = {
  cutAfter: null,
  swallow: { up: false, down: false },
  delayMs: 0,
  lose: 0,
  repeat: 0,
  swap: 0,
};

/** A TCP path to a manager that can be made bad. Its faults count from the next piece on. */
export class FaultyPath implements AsyncDisposable {
  faults: PathFaults = { ...NONE };
  connections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #random: () => number;

  private constructor(target: number, random: () => number) {
    this.#random = random;
    this.#server = createServer((near) => this.#serve(near, target));
  }

  static async open(target: number, random: () => number = Math.random): Promise<FaultyPath> {
    const path = new FaultyPath(target, random);
    path.#server.listen(0, "127.0.0.1");
    await once(path.#server, "listening");
    return path;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  set(faults: Partial<PathFaults>): void {
    this.faults = { ...NONE, ...faults };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #serve(near: Socket, target: number): void {
    this.connections += 1;
    const far = connect({ port: target, host: "127.0.0.1" });
    let sent = 0;
    let late: Buffer | null = null;
    const end = (): void => {
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      this.#sockets.add(socket);
      socket.on("error", end);
      socket.on("close", () => {
        this.#sockets.delete(socket);
        end();
      });
    }
    const later = (act: () => void): void => {
      if (this.faults.delayMs === 0) act();
      else setTimeout(act, this.faults.delayMs);
    };
    const up = (bytes: Buffer): void => {
      const { cutAfter } = this.faults;
      if (cutAfter !== null && sent + bytes.length >= cutAfter) {
        far.end(bytes.subarray(0, cutAfter - sent));
        near.destroy();
        return;
      }
      sent += bytes.length;
      later(() => far.writable && far.write(bytes));
    };
    near.on("data", (piece: Buffer) => {
      // The manager answers to its own name only.
      const text = piece
        .toString("latin1")
        .replace(`Host: 127.0.0.1:${this.port}`, `Host: 127.0.0.1:${target}`);
      const bytes = Buffer.from(text, "latin1");
      const { swallow, lose, repeat, swap } = this.faults;
      if (swallow.up || this.#random() < lose) return;
      if (late === null && this.#random() < swap) {
        late = bytes;
        return;
      }
      up(bytes);
      if (this.#random() < repeat) up(bytes);
      if (late !== null) up(late);
      late = null;
    });
    far.on("data", (bytes: Buffer) => {
      if (!this.faults.swallow.down) later(() => near.writable && near.write(bytes));
    });
  }
}
