import { constants } from "node:fs";
import { open, readFile } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { parseJson } from "../kit/json-lines.ts";
import type { Log } from "../kit/log.ts";
import type { SigningKey } from "../kit/signing.ts";
import {
  FIRST_PREVIOUS,
  hashOfCheckpoint,
  signCheckpoint,
  SignedCheckpoint,
} from "../protocol/recording-proof.ts";
import type { Checkpoint } from "../protocol/recording-proof.ts";
import type { RunSpec } from "../protocol/run-spec.ts";
import type { Recording } from "./recording.ts";
import type { Redaction } from "./redaction.ts";
import type { Spool } from "./spool.ts";

export const CHECKPOINT_EVERY = { bytes: 1024 * 1024, ms: 10_000 };

export interface CheckpointOptions {
  /** beside the spool */
  path: string;
  session: string;
  epoch: number;
  key: SigningKey;
  spool: Spool;
  facts: () => Pick<Checkpoint, "set" | "masked" | "gaps">;
  log: Log;
}

/**
 * Signs, every 10 s or 1 MiB, how far the recording is durable: what was signed can be proved even when the session is cut off. Those
 * that the manager has not yet countersigned wait in order; the file beside the spool brings them over a restart.
 */
export class Checkpoints implements AsyncDisposable {
  readonly #options: CheckpointOptions;
  readonly #file: FileHandle;
  readonly #waiting: SignedCheckpoint[];
  #last: SignedCheckpoint | null;
  #lastAt = performance.now();
  #writing: Promise<void> = Promise.resolve();
  readonly #timer: NodeJS.Timeout;

  private constructor(options: CheckpointOptions, file: FileHandle, known: SignedCheckpoint[]) {
    this.#options = options;
    this.#file = file;
    this.#waiting = known;
    this.#last = known.at(-1) ?? null;
    this.#timer = setInterval(() => this.#signIfDue(), CHECKPOINT_EVERY.ms / 4);
    this.#timer.unref();
    options.spool.onDurable(() => this.#signIfDue());
  }

  /** Reads what an earlier recorder of this session signed; what is cut, or of more than the spool holds, is left out. */
  static async open(options: CheckpointOptions): Promise<Checkpoints> {
    const file = await open(
      options.path,
      constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW,
      0o600,
    );
    try {
      const known: SignedCheckpoint[] = [];
      let good = 0;
      for (const line of (await file.readFile("utf8")).split("\n")) {
        const signed = readLine(line);
        if (signed === null || signed.checkpoint.bytes > options.spool.durableBytes) break;
        known.push(signed);
        good += Buffer.byteLength(line) + 1;
      }
      await file.truncate(good);
      return new Checkpoints(options, file, known);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /**
   * Those from this number on are wanted. A manager that was restored from a backup lacks some that it had: they are read again from
   * beside the spool.
   */
  async from(n: number): Promise<void> {
    this.taken(n);
    const first = this.#waiting[0]?.checkpoint.n ?? (this.#last?.checkpoint.n ?? -1) + 1;
    if (first <= n) return;
    await this.#writing;
    const lines = (await readFile(this.#options.path, "utf8")).split("\n");
    const known = lines.map(readLine).filter((signed) => signed !== null);
    this.#waiting.unshift(
      ...known.filter(({ checkpoint }) => checkpoint.n >= n && checkpoint.n < first),
    );
  }

  /** The one of this number, or the first after it; null when there is none yet. */
  at(n: number): SignedCheckpoint | null {
    return this.#waiting.find(({ checkpoint }) => checkpoint.n >= n) ?? null;
  }

  /** The manager has all before this one. */
  taken(n: number): void {
    const index = this.#waiting.findIndex(({ checkpoint }) => checkpoint.n >= n);
    this.#waiting.splice(0, index === -1 ? this.#waiting.length : index);
  }

  /** Signs the end: the spool is whole, and nothing follows. */
  async end(): Promise<void> {
    if (this.#last?.checkpoint.end !== true) this.#sign(true);
    await this.#writing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#writing;
    await this.#file.close();
  }

  #signIfDue(): void {
    const { spool } = this.#options;
    const fresh = spool.durableBytes - (this.#last?.checkpoint.bytes ?? 0);
    const isOld = performance.now() - this.#lastAt >= CHECKPOINT_EVERY.ms;
    if (this.#last?.checkpoint.end === true) return;
    if (fresh >= CHECKPOINT_EVERY.bytes || (fresh > 0 && isOld)) this.#sign(false);
  }

  #sign(end: boolean): void {
    const { session, epoch, spool, key, facts, log } = this.#options;
    const before = this.#last;
    const checkpoint: Checkpoint = {
      session,
      epoch,
      n: before === null ? 0 : before.checkpoint.n + 1,
      bytes: spool.durableBytes,
      sha256: spool.sha256(),
      previous: before === null ? FIRST_PREVIOUS : hashOfCheckpoint(before.checkpoint),
      ...facts(),
      end,
      time: new Date().toISOString(),
    };
    const signed = signCheckpoint(checkpoint, key);
    this.#last = signed;
    this.#lastAt = performance.now();
    this.#waiting.push(signed);
    const line = `${JSON.stringify(signed)}\n`;
    this.#writing = this.#writing.then(async () => {
      // The manager keeps them too; a disk that has no room for this one will have for none of the recording.
      await this.#file
        .appendFile(line)
        .catch((error: unknown) =>
          log.warn({ err: error }, "checkpoint not kept beside the spool"),
        );
    });
    spool.grown.ring();
  }
}

/** The checkpoints of one session of a run. */
export async function openCheckpoints(
  { spec, log }: { spec: RunSpec; log: Log },
  parts: {
    session: string;
    spool: Spool;
    recording: Recording;
    redaction: Redaction;
    key: SigningKey;
  },
): Promise<Checkpoints> {
  const { session, spool, recording, redaction, key } = parts;
  return await Checkpoints.open({
    path: spool.checkpointsPath,
    session,
    epoch: spec.epoch,
    key,
    spool,
    facts: () => ({ set: redaction.version, ...recording.proven }),
    log,
  });
}

function readLine(line: string): SignedCheckpoint | null {
  try {
    return line === "" ? null : parseJson("a checkpoint", SignedCheckpoint, line);
  } catch {
    return null;
  }
}
