import { createConnection, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { Backoff } from "../kit/backoff.ts";
import { parseJson, writeJsonLine } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import { Challenge, macOf } from "../protocol/proof.ts";
import { PROTOCOL, requireProtocol } from "../protocol/version.ts";

/** Labels that wait while the recorder is away; older ones are dropped, since a marker is an aid and the audit is the truth. */
const WAITING_LIMIT = 256;
const MAX_UNREAD_BYTES = 64 * 1024;
/** Markers that come within this time go together, and so as much later: the recorder and the manager sync once for all of them. */
const GATHER_MS = 100;
const CHALLENGE_MS = 2000;

export interface MarkersOptions {
  socketPath: string;
  token: string;
  log: Log;
}

/** Puts markers into the recording through the recorder's marker socket. Best effort: never fails, never blocks a call. */
export class Markers implements AsyncDisposable {
  readonly #options: MarkersOptions;
  readonly #waiting: string[] = [];
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #socket: Socket | null = null;
  #gathering: NodeJS.Timeout | undefined;

  constructor(options: MarkersOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  mark(label: string): void {
    this.#waiting.push(label.slice(0, 4096));
    if (this.#waiting.length > WAITING_LIMIT) this.#waiting.shift();
    if (this.#socket !== null) this.#gathering ??= setTimeout(() => this.#hand(), GATHER_MS);
  }

  /** Closes the connection after what was written has left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#hand();
    this.#socket?.end();
    await this.#running;
  }

  /** Hands on what waits, while the recorder takes it. */
  #hand(): void {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    const socket = this.#socket;
    if (socket === null || socket.writableLength > MAX_UNREAD_BYTES) return;
    socket.cork();
    for (const label of this.#waiting.splice(0)) writeJsonLine(socket, { label });
    socket.uncork();
  }

  async #run(): Promise<void> {
    const backoff = new Backoff({ minMs: 50, maxMs: 2000 });
    while (!this.#stop.signal.aborted) {
      await this.#session(() => backoff.startOver()).catch((error: unknown) =>
        this.#options.log.debug({ err: error }, "marker link lost"),
      );
      await backoff.wait(this.#stop.signal).catch(() => {});
    }
  }

  /** One connection: answers the challenge, then stays until it is closed. */
  async #session(onProven: () => void): Promise<void> {
    const socket = createConnection(this.#options.socketPath);
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    const abandon = setTimeout(() => socket.destroy(), CHALLENGE_MS);
    // A close in progress may take a moment to drain, not for ever.
    const onStop = (): void => void setTimeout(() => socket.destroy(), 500).unref();
    this.#stop.signal.addEventListener("abort", onStop, { once: true });
    socket.on("error", () => {});
    socket.once("close", () => resolve());
    const lines = createInterface({ input: socket });
    lines.on("error", () => {});
    lines.once("line", (line) => {
      clearTimeout(abandon);
      try {
        this.#prove(socket, line);
        onProven();
      } catch (error) {
        this.#options.log.warn({ err: error }, "recorder's challenge not understood");
        socket.destroy();
      }
    });
    await closed;
    clearTimeout(abandon);
    this.#stop.signal.removeEventListener("abort", onStop);
    this.#socket = null;
  }

  #prove(socket: Socket, line: string): void {
    const challenge = parseJson("the recorder's challenge", Challenge, line);
    requireProtocol("the session-recorder", challenge.protocol);
    const mac = macOf(this.#options.token, "runner", challenge.nonce);
    writeJsonLine(socket, { protocol: PROTOCOL, role: "runner", mac });
    this.#socket = socket;
    this.#hand();
    if (this.#stop.signal.aborted) socket.end();
  }
}
