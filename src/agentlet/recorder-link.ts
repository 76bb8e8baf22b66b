import { Backoff } from "../kit/backoff.ts";
import type { Log } from "../kit/log.ts";
import { PlatformError, messageOf } from "../kit/platform-error.ts";
import type { Frame, RecorderReply } from "../protocol/frames.ts";
import type { TerminalSize } from "./pty-session.ts";
import { openRecorderConnection } from "./recorder-connection.ts";
import type { RecorderConnection } from "./recorder-connection.ts";
import { UnackedFrames } from "./unacked-frames.ts";

export const RECORDER_LIMITS = {
  /** frames kept until acknowledged; at the bound the terminal is not read */
  unackedBytes: 16 * 1024 * 1024,
  /** a recorder that is away this long is lost, and the run with it */
  awayMs: 60_000,
  /** a recorder that is connected but has made nothing durable for this long (a full disk that nobody heals) is lost */
  stalledMs: 600_000,
  backoffMinMs: 20,
  backoffMaxMs: 1000,
};

export interface RecorderLinkOptions {
  socket: string;
  token: string;
  /** The shell whose session this is; without it the run's own. */
  grant?: string;
  /** Microseconds since the start of the session; never goes back. */
  clock: () => number;
  /** Asks the terminal to stop (true) or to go on (false). */
  onFull: (full: boolean) => void;
  log: Log;
  limits?: Partial<typeof RECORDER_LIMITS>;
}

type Fact =
  | ({ type: "resize" } & TerminalSize)
  | { type: "marker"; label: string }
  | { type: "exit"; status: number };

/** The way to the recorder: keeps every frame until it is durable there, across any number of lost connections. */
export class RecorderLink implements AsyncDisposable {
  /** Settles when the recorder is given up; the reason says why. Never rejects. */
  readonly lost: Promise<PlatformError>;
  /** Settles when the recorder's spool is full and the run has to end for it; the link goes on to the exit. */
  readonly spoolFull: Promise<void>;
  /** Settles at the first welcome. */
  readonly welcomed: Promise<void>;
  readonly #options: RecorderLinkOptions;
  readonly #limits: typeof RECORDER_LIMITS;
  readonly #closing = new AbortController();
  readonly #frames = new UnackedFrames();
  readonly #lose: (error: PlatformError) => void;
  readonly #welcome: () => void;
  readonly #noRoom = Promise.withResolvers<void>();
  readonly #sealed = Promise.withResolvers<void>();
  readonly #running: Promise<void>;
  readonly #watchdog: NodeJS.Timeout;
  #connection: RecorderConnection | null = null;
  #seq = 0;
  #outputOffset = 0;
  #inputOffset = 0;
  #exitSeq = Infinity;
  #hurrying = false;
  #full = false;
  #awaySince: number | null = performance.now();
  #waitingSince: number | null = null;

  constructor(options: RecorderLinkOptions) {
    this.#options = options;
    this.#limits = { ...RECORDER_LIMITS, ...options.limits };
    const lost = Promise.withResolvers<PlatformError>();
    const welcomed = Promise.withResolvers<void>();
    this.lost = lost.promise;
    this.welcomed = welcomed.promise;
    this.spoolFull = this.#noRoom.promise;
    this.#welcome = welcomed.resolve;
    this.#lose = (error) => {
      lost.resolve(error);
      this.#closing.abort();
    };
    this.#watchdog = setInterval(
      () => this.#checkPatience(),
      Math.min(1000, this.#limits.awayMs / 4),
    );
    this.#running = this.#run();
  }

  /** Bytes of output that were given to this link so far. */
  get outputOffset(): number {
    return this.#outputOffset;
  }

  output(bytes: Buffer): void {
    const offset = this.#outputOffset;
    this.#outputOffset += bytes.length;
    this.#send({ ...this.#head(), type: "output", offset, bytes });
  }

  input(bytes: Buffer): void {
    const offset = this.#inputOffset;
    this.#inputOffset += bytes.length;
    this.#send({ ...this.#head(), type: "input", offset, bytes });
  }

  resize(size: TerminalSize): void {
    this.#fact({ type: "resize", cols: size.cols, rows: size.rows });
  }

  marker(label: string): void {
    this.#fact({ type: "marker", label: label.slice(0, 4096) });
  }

  /** The program has ended: from now on a recorder that makes no progress is given up as soon as one that is away. */
  hurry(): void {
    this.#hurrying = true;
    if (this.#waitingSince !== null) this.#waitingSince = performance.now();
  }

  /** Stops waiting for a recorder that is known not to come. */
  giveUp(): void {
    this.#lose(new PlatformError("recorder_lost", "Recorder did not come"));
  }

  /** Sends the last frame and waits until it is durable: "sealed", or "lost" with the recorder given up. */
  async exit(status: number): Promise<"sealed" | "lost"> {
    this.#fact({ type: "exit", status });
    this.hurry();
    this.#exitSeq = this.#seq;
    return Promise.race([
      this.#sealed.promise.then(() => "sealed" as const),
      this.lost.then(() => "lost" as const),
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#watchdog);
    this.#closing.abort();
    this.#connection?.close();
    await this.#running;
  }

  #head(): { seq: number; timeUs: number } {
    this.#seq += 1;
    return { seq: this.#seq, timeUs: this.#options.clock() };
  }

  #fact(fact: Fact): void {
    this.#send({ ...this.#head(), ...fact });
  }

  #send(frame: Frame): void {
    if (this.#closing.signal.aborted) return;
    const data = this.#frames.push(frame);
    this.#waitingSince ??= performance.now();
    this.#connection?.send(data);
    if (!this.#full && this.#frames.bytes >= this.#limits.unackedBytes) {
      this.#full = true;
      this.#options.onFull(true);
    }
  }

  /** Connects again and again until closed. Frames that were not acknowledged are sent again, from the recorder's welcome on. */
  async #run(): Promise<void> {
    const { signal } = this.#closing;
    const backoff = new Backoff({
      minMs: this.#limits.backoffMinMs,
      maxMs: this.#limits.backoffMaxMs,
    });
    while (!signal.aborted) {
      try {
        const connection = await openRecorderConnection(this.#options, signal);
        this.#requireOurSpool(connection.welcome.seq);
        backoff.startOver();
        this.#begin(connection);
        const reason = await connection.closed;
        this.#connection = null;
        this.#awaySince = performance.now();
        if (!signal.aborted) this.#options.log.warn({ reason }, "recorder link lost, will resume");
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof PlatformError && !error.retryable) {
          this.#lose(error);
          return;
        }
        this.#options.log.debug({ cause: messageOf(error) }, "recorder not reached");
      }
      await backoff.wait(signal).catch(() => undefined);
    }
  }

  /** A recorder that has frames we never sent records something else. */
  #requireOurSpool(seq: number): void {
    if (seq <= this.#seq) return;
    const message = `Expected a recorder with at most ${this.#seq} frames of this session, got one with ${seq}`;
    throw new PlatformError("recorder_refused", message, {
      fix: "remove the spool of an earlier run with the same id",
    });
  }

  #begin(connection: RecorderConnection): void {
    this.#connection = connection;
    this.#awaySince = null;
    this.#acknowledge(connection.welcome.seq);
    for (const data of this.#frames) connection.send(data);
    connection.onReply((reply) => this.#replied(reply));
    this.#welcome();
    if (connection.welcome.seq >= this.#exitSeq) this.#sealed.resolve();
  }

  #replied(reply: RecorderReply): void {
    switch (reply.kind) {
      case "ack":
        this.#acknowledge(reply.seq);
        // What waits for more of our bytes is no sign of a recorder that cannot write.
        if (reply.held === true) this.#waitingSince = null;
        break;
      case "full":
        this.#noRoom.resolve();
        break;
      case "sealed":
        this.#sealed.resolve();
        break;
      case "refused":
        this.#lose(
          new PlatformError(
            "recorder_refused",
            `Recorder refused the session (${reply.code}): ${reply.message}`,
          ),
        );
        break;
      case "welcome":
        break;
    }
  }

  #acknowledge(seq: number): void {
    if (this.#frames.forget(seq) > 0) this.#waitingSince = performance.now();
    if (this.#frames.size === 0) this.#waitingSince = null;
    // Reading starts again well below the bound, so that it does not flutter.
    if (this.#full && this.#frames.bytes < this.#limits.unackedBytes * 0.75) {
      this.#full = false;
      this.#options.onFull(false);
    }
  }

  #checkPatience(): void {
    const now = performance.now();
    const { awayMs, stalledMs } = this.#limits;
    const stalledLimitMs = this.#hurrying ? awayMs : stalledMs;
    if (this.#awaySince !== null && now - this.#awaySince > awayMs)
      this.#lose(new PlatformError("recorder_lost", `Recorder is away for more than ${awayMs} ms`));
    else if (this.#waitingSince !== null && now - this.#waitingSince > stalledLimitMs)
      this.#lose(
        new PlatformError(
          "recorder_lost",
          `Recorder made nothing durable for ${stalledLimitMs} ms`,
        ),
      );
  }
}
