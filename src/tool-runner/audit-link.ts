import type { WebSocket } from "ws";
import { Backoff } from "../kit/backoff.ts";
import { parseJson } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import type { AuditMessage } from "../protocol/audit.ts";
import { AuditAck } from "../protocol/audit-chain.ts";
import type { ManagerAddress } from "../protocol/manager-socket.ts";
import { CloseCode } from "../protocol/recording-link.ts";
import type { RunnerReport } from "../protocol/metrics.ts";
import { PROTOCOL } from "../protocol/version.ts";
import type { AuditJournal } from "./audit-journal.ts";

const HANDSHAKE_MS = 10_000;
/** Records that come within this time go together: the manager syncs and signs once for all of them. They are in the journal at once. */
const GATHER_MS = 20;
/** Records that may be on their way at once. */
const WINDOW = 256;
const SILENCE_MS = 12_000;
const REPORT_MS = 5000;
const FINAL_CODES: ReadonlySet<number> = new Set([
  CloseCode.unauthorized,
  CloseCode.notFound,
  CloseCode.fenced,
  CloseCode.protocolMismatch,
]);

export interface AuditLinkOptions {
  manager: ManagerAddress;
  run: string;
  epoch: number;
  token: string;
  journal: AuditJournal;
  /** what is counted, told every 5 s when it changed, and at the end */
  report: () => RunnerReport;
  log: Log;
}

/** The manager has records that the journal does not have, or has others: one of the two was changed. */
class ForkedError extends Error {}

/** Sends the journal to the manager across any number of lost connections; only what the manager acknowledged counts. */
export class AuditLink implements AsyncDisposable {
  readonly #options: AuditLinkOptions;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #acked = 0;
  #reporter: { tell(): void } | null = null;
  #changed = Promise.withResolvers<void>();

  constructor(options: AuditLinkOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  /** Waits until the manager has every record so far, or the time is over. True when it has. */
  async flush(timeoutMs: number): Promise<boolean> {
    this.#reporter?.tell();
    const signal = AbortSignal.timeout(timeoutMs);
    const { promise: over, resolve } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => resolve(), { once: true });
    while (
      this.#acked < this.#options.journal.lastSeq &&
      !signal.aborted &&
      !this.#stop.signal.aborted
    )
      await Promise.race([this.#changed.promise, over]);
    return this.#acked >= this.#options.journal.lastSeq;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    const backoff = new Backoff({ minMs: 50, maxMs: 5000 });
    while (!this.#stop.signal.aborted) {
      const code = await this.#session(() => backoff.startOver());
      if (this.#stop.signal.aborted) return;
      if (FINAL_CODES.has(code)) {
        log.error({ code }, "manager refused the audit; it stays in the journal only");
        this.#stop.abort();
        this.#wake();
        return;
      }
      log.warn({ code, acked: this.#acked }, "audit link lost, will resume");
      await backoff.wait(this.#stop.signal).catch(() => {});
    }
  }

  /** One connection, until it ends; returns its close code. */
  async #session(onProgress: () => void): Promise<number> {
    const { manager, run, token, epoch } = this.#options;
    // Loaded by the first connection: the tool-runner is ready before.
    const { openManagerSocket } = await import("../protocol/manager-socket.ts");
    if (this.#stop.signal.aborted) return CloseCode.unavailable;
    const socket = openManagerSocket(manager, `/v1/runs/${run}/audit`, token, {
      handshakeTimeout: HANDSHAKE_MS,
      maxPayload: 64 * 1024,
    });
    const { promise: closed, resolve } = Promise.withResolvers<number>();
    const over = new AbortController();
    const end = (code: number): void => {
      over.abort();
      this.#wake();
      resolve(code);
    };
    let refused: number | null = null;
    const abort = (): void => socket.terminate();
    this.#stop.signal.addEventListener("abort", abort, { once: true });
    socket.on("error", () => {});
    socket.on("unexpected-response", (_request, response) => {
      refused = closeCodeOf(response.statusCode ?? 0);
      response.resume();
      socket.terminate();
    });
    socket.on("close", (code) => end(refused ?? code));
    socket.on("open", () => send(socket, { kind: "hello", protocol: PROTOCOL, epoch }));
    let greeted = false;
    socket.on("message", (data: Buffer) => {
      try {
        const ack = parseJson("an acknowledgement of the manager", AuditAck, data.toString("utf8"));
        if (!greeted) this.#requireOwn(ack);
        if (!greeted || ack.seq > this.#acked) onProgress();
        // The first one may be lower than what we know: a manager that lost a tail gets it again.
        this.#acked = ack.seq;
        this.#wake();
        if (!greeted) void this.#send(socket, over.signal).catch(() => socket.terminate());
        if (!greeted) this.#reportOn(socket, over.signal);
        greeted = true;
      } catch (error) {
        if (error instanceof ForkedError) this.#giveUp(error);
        socket.close(CloseCode.badMessage, "expected an ack of this chain");
      }
    });
    const code = await closed;
    this.#stop.signal.removeEventListener("abort", abort);
    return code;
  }

  /** What the manager has must be what we have: else the audit was changed on one side, and nobody may add to it. */
  #requireOwn({ seq, hash }: AuditAck): void {
    const { journal } = this.#options;
    if (journal.hashAt(seq) === hash) return;
    throw new ForkedError(
      seq > journal.lastSeq
        ? `the manager has ${seq} records of this run, the journal ${journal.lastSeq}`
        : `record ${seq} is another one at the manager`,
    );
  }

  #giveUp(error: ForkedError): void {
    const { journal, log } = this.#options;
    log.error({ err: error }, "audit differs from the manager's, no call is taken any more");
    journal.refuse(error.message);
    this.#stop.abort();
    this.#wake();
  }

  async #send(socket: WebSocket, over: AbortSignal): Promise<void> {
    const groups = this.#options.journal.follow(this.#acked, GATHER_MS, over);
    for await (const [first, ...more] of groups) {
      while (first.seq - this.#acked > WINDOW && !over.aborted) await this.#waitForAck(socket);
      if (over.aborted) return;
      const { seq, record } = first;
      const behind = more.map((line) => ({ seq: line.seq, record: line.record }));
      send(socket, { kind: "audit", seq, record, ...(more.length === 0 ? {} : { more: behind }) });
    }
  }

  #reportOn(socket: WebSocket, over: AbortSignal): void {
    let told = "";
    const tell = (): void => {
      const message = { kind: "report", report: this.#options.report() } as const;
      const text = JSON.stringify(message);
      if (text !== told) send(socket, message);
      told = text;
    };
    const timer = setInterval(tell, REPORT_MS).unref();
    over.addEventListener("abort", () => clearInterval(timer), { once: true });
    this.#reporter = { tell };
    tell();
  }

  /** A full window that does not move means a connection that only looks alive. */
  async #waitForAck(socket: WebSocket): Promise<void> {
    const timer = setTimeout(() => socket.terminate(), SILENCE_MS);
    await this.#changed.promise;
    clearTimeout(timer);
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

function send(socket: WebSocket, message: AuditMessage): void {
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message));
}

/** An upgrade that is answered with a plain status is the same refusal in other words. */
function closeCodeOf(status: number): number {
  if (status === 401 || status === 403) return CloseCode.unauthorized;
  if (status === 404) return CloseCode.notFound;
  if (status === 409) return CloseCode.fenced;
  return status === 426 ? CloseCode.protocolMismatch : CloseCode.unavailable;
}
