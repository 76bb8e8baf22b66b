import { join } from "node:path";
import { PlatformError } from "../kit/platform-error.ts";
import { shellSession, type GrantId } from "../protocol/ids.ts";
import { openCheckpoints } from "./checkpoints.ts";
import { ProducerSeat } from "./producer-seat.ts";
import { Recording } from "./recording.ts";
import { shipSession, type ShipContext } from "./ship-session.ts";
import { spoolLimitsOf } from "./spool-limits.ts";
import { openSpool, type SpoolOptions } from "./spool.ts";
import { untilEnded } from "./until-ended.ts";
import type { Wake } from "./wake.ts";

/** Shells whose recordings are open at once; a producer of one more is refused. */
const MAX_SHELLS = 16;

interface ShellRecording {
  readonly seat: Promise<ProducerSeat | null>;
  readonly done: Promise<void>;
  interrupt(cause: string): void;
}

/**
 * The shells of a run, each a session of its own: a spool, a recording and a way to the manager, beside the run's. A shell whose
 * recording fails takes nothing else with it; its producer sees a closed connection.
 */
export class ShellRecordings implements AsyncDisposable {
  readonly #context: ShipContext;
  readonly #signal: AbortSignal;
  readonly #openFile: SpoolOptions["open"];
  readonly #open = new Map<GrantId, ShellRecording>();
  #closing = false;

  /** `signal`: the time to write and ship is over. `openFile`: as in `SpoolOptions`. */
  constructor(context: ShipContext, signal: AbortSignal, openFile?: SpoolOptions["open"]) {
    this.#context = context;
    this.#signal = signal;
    this.#openFile = openFile;
  }

  /** Where a producer of this shell is served; null when no more shells are taken. */
  async seatOf(grant: GrantId): Promise<ProducerSeat | null> {
    const known = this.#open.get(grant);
    if (known !== undefined) return await known.seat;
    if (this.#closing || this.#open.size >= MAX_SHELLS) return null;
    return await this.#begin(grant).seat;
  }

  /** Ends what has not ended by itself, and waits until every recording is verified or given up. */
  async finish(cause: string): Promise<void> {
    this.#closing = true;
    for (const shell of this.#open.values()) shell.interrupt(cause);
    await Promise.all([...this.#open.values()].map(async (shell) => await shell.done));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.finish("the recorder ends");
  }

  #begin(grant: GrantId): ShellRecording {
    const log = this.#context.log.child({ shell: grant });
    const seat = Promise.withResolvers<ProducerSeat | null>();
    const ended = new AbortController();
    const done = this.#record(grant, seat.resolve, ended.signal)
      .catch((error: unknown) => log.error({ err: error }, "shell is not recorded to its end"))
      .finally(() => {
        seat.resolve(null);
        this.#open.delete(grant);
      });
    const shell: ShellRecording = {
      seat: seat.promise,
      done,
      interrupt: (cause) => ended.abort(cause),
    };
    this.#open.set(grant, shell);
    return shell;
  }

  async #record(
    grant: GrantId,
    opened: (seat: ProducerSeat) => void,
    interrupted: AbortSignal,
  ): Promise<void> {
    const { spec } = this.#context;
    const log = this.#context.log.child({ shell: grant });
    const path = join(spec.spoolDir, `shell-${grant}`, "recording.cast");
    await using spool = await openSpool({
      path,
      log,
      ...spoolLimitsOf(spec),
      ...(this.#openFile === undefined ? {} : { open: this.#openFile }),
    });
    using recording = new Recording(spool, {
      header: {
        ...spec.terminal,
        timestamp: Math.floor(Date.now() / 1000),
        title: `shell of ${spec.agentName}`,
        term: "xterm-256color",
      },
      recordInput: spec.agent.recordInput,
      whenFull: spec.agent.whenFull,
      redaction: this.#context.redaction,
    });
    const sealed = { done: false };
    const session = shellSession(spec.run, grant);
    const { redaction, key } = this.#context;
    await using checkpoints = await openCheckpoints(
      { spec, log },
      { session, spool, recording, redaction, key },
    );
    const failed = new AbortController();
    const shipped = shipSession(
      { ...this.#context, log },
      { session, spool, checkpoints, sealed },
      AbortSignal.any([this.#signal, failed.signal]),
    );
    let verified = false;
    try {
      opened(new ProducerSeat(recording, log));
      using _bell = ringOnAbort([interrupted, this.#signal], spool.grown);
      const lost = (): string | null => (interrupted.aborted ? String(interrupted.reason) : null);
      await untilEnded(spool, recording, lost, this.#signal);
      await checkpoints.end();
      sealed.done = true;
      spool.grown.ring();
      verified = await shipped;
    } finally {
      // Without an end nothing is sealed: what is durable stays here, for the next one to go on with.
      failed.abort(new PlatformError("shell_not_ended", "Shell's recording has no end"));
      await shipped;
    }
    log.info({ bytes: spool.durableBytes, verified }, "shell recording sealed");
    if (verified) await spool.remove();
  }
}

function ringOnAbort(signals: AbortSignal[], bell: Wake): Disposable {
  const ring = (): void => bell.ring();
  for (const signal of signals) signal.addEventListener("abort", ring);
  return {
    [Symbol.dispose]: () => {
      for (const signal of signals) signal.removeEventListener("abort", ring);
    },
  };
}
