import { join } from "node:path";
import type { Log } from "../kit/log.ts";
import { PlatformError } from "../kit/platform-error.ts";
import { createSigningKey, readSigningKey } from "../kit/signing.ts";
import type { ChildStatus, SealedRecording } from "../protocol/child-status.ts";
import type { RecorderBoot, RunSpec } from "../protocol/run-spec.ts";
import { POD_GRACE } from "../protocol/pod-grace.ts";
import { openCheckpoints } from "./checkpoints.ts";
import { socketModeOf } from "../protocol/socket-mode.ts";
import { FrameSocket } from "./frame-socket.ts";
import { listenForMarkers } from "./marker-socket.ts";
import { Recording } from "./recording.ts";
import { Redaction } from "./redaction.ts";
import { ShellRecordings } from "./shell-recordings.ts";
import { shipSession } from "./ship-session.ts";
import { spoolLimitsOf } from "./spool-limits.ts";
import { openSpool } from "./spool.ts";
import type { Spool } from "./spool.ts";
import { untilEnded } from "./until-ended.ts";

/** How long a finished recording waits for the manager: with a supervisor, and without one. */
const SHIP_MS = 10 * 60_000;
const SHIP_ALONE_MS = 10_000;
/** In a pod; the last of its grace is for saying how it went. */
export const SHIP_IN_POD_MS = (POD_GRACE.recorder - 1) * 1000;

/** After a loss: how long a connection on its way may take to show, and how long one that is here may take to end by itself. */
const PRODUCER_LOST = { returnMs: 200, endMs: 2000 };
const SUPERVISOR_GONE = { returnMs: 1000, endMs: 5000 };

export interface RecordOptions {
  spec: RunSpec;
  boot: RecorderBoot;
  log: Log;
  say: (status: ChildStatus) => void;
  /** Hands on the values that came into zone A in mid-session; those from before are in the boot document. */
  onSecrets: (take: (values: readonly Buffer[]) => void) => void;
  /** Aborted with the cause, as text, when the agentlet is dead. */
  producerLost: AbortSignal;
  /** Aborted with the cause, as text, when nobody is left to wait for us. */
  supervisorGone: AbortSignal;
  /** how long it then goes on shipping; 10 s unless given */
  shipAloneMs?: number;
}

/**
 * Records one session: takes what the producer sends, keeps it, ships it, and says `ready` and `sealed`. The spool is
 * removed once the manager has verified the whole. Throws `PlatformError` when it cannot start or cannot write.
 */
export async function record(options: RecordOptions): Promise<SealedRecording> {
  const { spec, boot, log, say } = options;
  const redaction = new Redaction(
    (boot.zoneSecrets ?? []).map((value) => Buffer.from(value, "base64")),
  );
  // A recorder that is started again goes on under the same key.
  const key =
    boot.signingSeed === undefined ? createSigningKey() : readSigningKey(boot.signingSeed);
  await using spool = await openSpool({
    path: join(spec.spoolDir, "recording.cast"),
    log,
    ...spoolLimitsOf(spec),
  });
  redaction.goOnAfter(spool.resumed?.redactionSet ?? 0);
  options.onSecrets((values) => {
    redaction.add(values);
    log.info({ version: redaction.version, values: redaction.size }, "redaction set grew");
  });
  using budget = new ShipBudget(options, spool);
  using recording = new Recording(spool, {
    header: {
      ...spec.terminal,
      timestamp: Math.floor(Date.now() / 1000),
      title: spec.agentName,
      term: "xterm-256color",
    },
    recordInput: spec.agent.recordInput,
    whenFull: spec.agent.whenFull,
    redaction,
  });
  await spool.flush(budget.signal);
  await using shells = new ShellRecordings({ spec, boot, log, redaction, key }, budget.signal);
  const sockets = { recording, mode: socketModeOf(spec), log };
  const { recorder: framePath, markers: markerPath } = spec.sockets;
  await using frames = await FrameSocket.listen({
    ...sockets,
    path: framePath,
    token: boot.agentletToken,
    shell: (grant) => shells.seatOf(grant),
  });
  await using _markers = await listenForMarkers({
    ...sockets,
    path: markerPath,
    token: boot.runnerToken,
  });
  const sealed = { done: false };
  const session = { session: spec.run, spool, recording, redaction, key };
  await using checkpoints = await openCheckpoints({ spec, log }, session);
  const shipped = shipSession(
    options,
    { session: spec.run, spool, checkpoints, sealed },
    budget.signal,
  );
  say({ kind: "ready" });

  let verified = false;
  try {
    using producer = new Loss(options.producerLost, PRODUCER_LOST, spool);
    using supervisor = new Loss(options.supervisorGone, SUPERVISOR_GONE, spool);
    const lost = (): string | null =>
      [producer, supervisor].find((loss) => loss.isFinal(frames.hasProducer))?.cause ?? null;
    await untilEnded(spool, recording, lost, budget.signal);
    await checkpoints.end();
    budget.begin();
    sealed.done = true;
    spool.grown.ring();
    await shells.finish("the run is over");
    verified = await shipped;
  } catch (error) {
    if (!budget.signal.aborted) throw error;
    log.error({ err: error }, "recording not finished in time");
  } finally {
    budget.giveUp();
    await shipped;
  }
  const result = { bytes: spool.durableBytes, sha256: spool.sha256(), verified };
  const { unproven, refused } = frames;
  log.info({ ...result, unproven, refused }, "recording sealed");
  // Said before the spool goes: killed in between, the supervisor does not start a recorder without a spool.
  say({ kind: "sealed", recording: result });
  if (verified) await spool.remove();
  return result;
}

/** Somebody of the run was lost. What the producer has sent is still taken; then the recording ends without an exit. */
class Loss implements Disposable {
  readonly #signal: AbortSignal;
  readonly #grace: { returnMs: number; endMs: number };
  readonly #spool: Spool;
  readonly #timers: NodeJS.Timeout[] = [];
  #since: number | null = null;

  constructor(signal: AbortSignal, grace: { returnMs: number; endMs: number }, spool: Spool) {
    this.#signal = signal;
    this.#grace = grace;
    this.#spool = spool;
    if (signal.aborted) this.#begin();
    else signal.addEventListener("abort", this.#begin, { once: true });
  }

  get cause(): string {
    return String(this.#signal.reason);
  }

  isFinal(hasProducer: boolean): boolean {
    if (this.#since === null) return false;
    const passed = performance.now() - this.#since;
    return passed >= (hasProducer ? this.#grace.endMs : this.#grace.returnMs);
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#begin);
    for (const timer of this.#timers) clearTimeout(timer);
  }

  readonly #begin = (): void => {
    this.#since = performance.now();
    const ring = (): void => this.#spool.grown.ring();
    ring();
    // A millisecond more, because a timer may be early against the clock.
    for (const ms of [this.#grace.returnMs, this.#grace.endMs])
      this.#timers.push(setTimeout(ring, ms + 1));
  };
}

/** The time that is left to write and ship: from the end on, or from the loss of the supervisor on. */
class ShipBudget implements Disposable {
  readonly #over = new AbortController();
  readonly #supervisorGone: AbortSignal;
  readonly #aloneMs: number;
  readonly #spool: Spool;
  readonly #timers: NodeJS.Timeout[] = [];

  constructor({ supervisorGone, shipAloneMs = SHIP_ALONE_MS }: RecordOptions, spool: Spool) {
    this.#aloneMs = shipAloneMs;
    this.#supervisorGone = supervisorGone;
    this.#spool = spool;
    if (supervisorGone.aborted) this.#alone();
    else supervisorGone.addEventListener("abort", this.#alone, { once: true });
  }

  get signal(): AbortSignal {
    return this.#over.signal;
  }

  begin(): void {
    this.#limit(SHIP_MS);
  }

  giveUp(): void {
    this.#over.abort(new PlatformError("ship_deadline", "Recording was not verified in time"));
    this.#spool.grown.ring();
  }

  [Symbol.dispose](): void {
    this.#supervisorGone.removeEventListener("abort", this.#alone);
    for (const timer of this.#timers) clearTimeout(timer);
  }

  readonly #alone = (): void => this.#limit(this.#aloneMs);

  #limit(ms: number): void {
    this.#timers.push(setTimeout(() => this.giveUp(), ms));
  }
}
