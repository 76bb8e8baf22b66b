import type { Readable } from "node:stream";
import { type RedactionTable, Redactor } from "../kit/redactor.ts";

/** How far past its cap a stream is read and dropped before the tool is killed: a chatty tool may finish, `yes` may not. */
const DROP_FACTOR = 16;

export interface CallOutputOptions {
  capBytes: number;
  secrets: RedactionTable | null;
  /** the tool writes without end */
  onRunaway: () => void;
}

/** One output stream of a tool: redacted, kept up to the cap, read to its end so that the tool never blocks on it. */
export class CallOutput {
  /** settles when the stream has ended; never rejects */
  readonly ended: Promise<void>;
  readonly #chunks: Buffer[] = [];
  readonly #capBytes: number;
  readonly #redactor: Redactor | null;
  #kept = 0;
  #seen = 0;

  constructor(stream: Readable | null, options: CallOutputOptions) {
    this.#capBytes = options.capBytes;
    this.#redactor = options.secrets === null ? null : new Redactor(options.secrets);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    if (stream === null) resolve();
    stream?.on("data", (chunk: Buffer) => {
      this.#take(chunk);
      if (this.#seen > this.#capBytes * DROP_FACTOR) options.onRunaway();
    });
    // It comes paused; a listener alone does not start a stream that was paused on purpose.
    stream?.resume();
    stream?.once("close", () => resolve());
    stream?.once("error", () => resolve());
  }

  get truncated(): boolean {
    return this.#seen > this.#capBytes;
  }

  get masked(): number {
    return this.#redactor?.masked ?? 0;
  }

  /** The text, with a mark where it was cut. Call it after `ended`. */
  text(): string {
    if (this.#redactor !== null) this.#keep(this.#redactor.end());
    const text = Buffer.concat(this.#chunks).toString("utf8");
    return this.truncated ? `${text}\n[truncated after ${this.#capBytes} bytes]\n` : text;
  }

  #take(chunk: Buffer): void {
    this.#seen += chunk.length;
    if (this.#kept < this.#capBytes) this.#keep(this.#redactor?.push(chunk) ?? chunk);
  }

  #keep(bytes: Buffer): void {
    const kept = bytes.subarray(0, Math.max(0, this.#capBytes - this.#kept));
    if (kept.length === 0) return;
    this.#kept += kept.length;
    this.#chunks.push(kept);
  }
}
