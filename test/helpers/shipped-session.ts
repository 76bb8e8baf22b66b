import { silentLog } from "../../src/kit/log.ts";
import type { SigningKey } from "../../src/kit/signing.ts";
import { Checkpoints } from "../../src/recorder/checkpoints.ts";
import { Recording } from "../../src/recorder/recording.ts";
import { Redaction } from "../../src/recorder/redaction.ts";
import { shipSpool, type ShipOptions } from "../../src/recorder/ship.ts";
import { openSpool, type Spool } from "../../src/recorder/spool.ts";

const never = new AbortController().signal;

export interface SessionToShip {
  /** of the manager, or of what stands before it */
  url: string;
  run: string;
  token: string;
  key: SigningKey;
  /** the recording's file */
  path: string;
  backoff?: ShipOptions["backoff"];
  /** Called when the manager has a piece durably, with when it was written, in `performance.now()` time. */
  onKept?: (writtenAt: number) => void;
}

/** A session as the recorder's own parts record and ship it, without a program and a terminal: who uses it says what was printed. */
export class ShippedSession implements AsyncDisposable {
  readonly spool: Spool;
  readonly #session: SessionToShip;
  readonly #stack: AsyncDisposableStack;
  readonly #recording: Recording;
  readonly #checkpoints: Checkpoints;
  readonly #sealed = { done: false };
  readonly #over = new AbortController();
  /** What was written and is not at the manager yet; `until` is the length of the recording with it, once it is on disk. */
  readonly #waiting: { seq: number; at: number; until: number | null }[] = [];
  #shipped: Promise<void> = Promise.resolve();
  #committed = 0;
  #seq = 0;
  #offset = 0;

  private constructor(
    session: SessionToShip,
    stack: AsyncDisposableStack,
    parts: { spool: Spool; recording: Recording; checkpoints: Checkpoints },
  ) {
    this.#session = session;
    this.#stack = stack;
    this.spool = parts.spool;
    this.#recording = parts.recording;
    this.#checkpoints = parts.checkpoints;
    this.spool.onDurable(() => {
      for (const piece of this.#waiting)
        if (piece.until === null && piece.seq <= this.#recording.durable.seq)
          piece.until = this.spool.durableBytes;
    });
  }

  static async open(session: SessionToShip): Promise<ShippedSession> {
    const stack = new AsyncDisposableStack();
    const log = silentLog;
    const spool = stack.use(await openSpool({ path: session.path, log }));
    const header = { cols: 120, rows: 40, timestamp: 0, title: "shipped", term: "xterm-256color" };
    const recording = stack.use(
      new Recording(spool, { header, recordInput: false, redaction: new Redaction([]) }),
    );
    const checkpoints = stack.use(
      await Checkpoints.open({
        path: spool.checkpointsPath,
        session: session.run,
        epoch: 1,
        key: session.key,
        spool,
        facts: () => ({ set: 1, ...recording.proven }),
        log,
      }),
    );
    return new ShippedSession(session, stack, { spool, recording, checkpoints });
  }

  /** Pieces that were written so far. */
  get pieces(): number {
    return this.#seq;
  }

  write(bytes: Buffer): void {
    this.#seq += 1;
    const at = performance.now();
    this.#waiting.push({ seq: this.#seq, at, until: null });
    const timeUs = Math.round(at * 1000);
    this.#recording.take({ type: "output", seq: this.#seq, timeUs, offset: this.#offset, bytes });
    this.#offset += bytes.length;
  }

  /** Resolves when the recorder takes more. */
  async room(): Promise<void> {
    await this.#recording.room();
  }

  /** Resolves when all of it is on disk. */
  async flush(): Promise<void> {
    await this.spool.flush(never);
  }

  ship(): void {
    const { url, run, token, backoff } = this.#session;
    this.#shipped = shipSpool(
      {
        manager: { url },
        session: run,
        token,
        epoch: 1,
        spool: this.spool,
        checkpoints: this.#checkpoints,
        sealed: this.#sealed,
        ...(backoff === undefined ? {} : { backoff }),
        onCommitted: (bytes) => this.#onCommitted(bytes),
        log: silentLog,
      },
      this.#over.signal,
    );
    this.#shipped.catch(() => undefined);
  }

  /** Whether the manager has all that is on disk. Throws what ended the shipping, if anything did. */
  async isShipped(): Promise<boolean> {
    await Promise.race([this.#shipped, Promise.resolve()]);
    return this.#committed >= this.spool.durableBytes;
  }

  /** Ends the session and resolves when the manager has verified it. */
  async end(): Promise<void> {
    const timeUs = Math.round(performance.now() * 1000);
    this.#recording.take({ type: "exit", seq: this.#seq + 1, timeUs, status: 0 });
    await this.flush();
    await this.#checkpoints.end();
    this.#sealed.done = true;
    this.spool.grown.ring();
    await this.#shipped;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort(new Error("The session is over"));
    await this.#stack.disposeAsync();
  }

  #onCommitted(bytes: number): void {
    this.#committed = Math.max(this.#committed, bytes);
    const waiting = this.#waiting;
    for (let [first] = waiting; first?.until != null && first.until <= bytes; [first] = waiting) {
      this.#session.onKept?.(first.at);
      waiting.shift();
    }
  }
}
