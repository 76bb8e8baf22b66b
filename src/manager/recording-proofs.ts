import { open, type FileHandle } from "node:fs/promises";
import { parseJson } from "../kit/json-lines.ts";
import { PlatformError } from "../kit/platform-error.ts";
import type { Countersignature } from "../protocol/countersignature.ts";
import {
  isCheckpointSigned,
  problemOfChain,
  ProofLine,
  type SignedCheckpoint,
} from "../protocol/recording-proof.ts";
import type { RecordingFile } from "./recording-file.ts";

export interface RecordingProofsOptions {
  path: string;
  /** as checkpoints have to name it */
  session: string;
  /** registered key of the run's recorder; undefined for a run of an earlier build */
  recorderKey: string | undefined;
  countersign: (what: { epoch: number; at: number; hash: string }) => Countersignature;
}

/**
 * The proofs beside a recording, as the manager keeps them: a checkpoint is taken when it follows the one before, is signed by the
 * run's recorder and names the very bytes that are durable here. Then the manager signs it too.
 */
export class RecordingProofs implements AsyncDisposable {
  readonly #options: RecordingProofsOptions;
  readonly #file: FileHandle;
  #last: SignedCheckpoint | null;
  #order: Promise<unknown> = Promise.resolve();

  private constructor(
    options: RecordingProofsOptions,
    file: FileHandle,
    last: SignedCheckpoint | null,
  ) {
    this.#options = options;
    this.#file = file;
    this.#last = last;
  }

  /** Opens or makes the file; a line that was cut is cut off. */
  static async open(options: RecordingProofsOptions): Promise<RecordingProofs> {
    const file = await open(options.path, "a+", 0o600);
    try {
      const text = await file.readFile("utf8");
      const whole = text.slice(0, text.lastIndexOf("\n") + 1);
      await file.truncate(Buffer.byteLength(whole));
      const lines = whole
        .split("\n")
        .slice(0, -1)
        .map((line) => parseJson("a proof", ProofLine, line));
      const last = lines.findLast((line) => "checkpoint" in line);
      return new RecordingProofs(options, file, last ?? null);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Number of the checkpoint that comes next. */
  get next(): number {
    return this.#last === null ? 0 : this.#last.checkpoint.n + 1;
  }

  /**
   * Takes a checkpoint once its bytes are durable here. Resolves with the number that comes next. Throws `PlatformError`
   * `proof_refused` for one that is not of this recording, whose bytes stay what they are.
   */
  async take(signed: SignedCheckpoint, recording: RecordingFile): Promise<number> {
    const { n, epoch, bytes } = signed.checkpoint;
    if (n < this.next) return this.next;
    // Before anything of the file is read for it, or waited for.
    refuseFor(n, this.#problemOfSender(signed));
    const digest = recording.digestAt(bytes);
    digest.catch(() => undefined);
    // Taken in the order of the calls: a digest that has to be read from the file comes later than the next one, which is at hand.
    return await this.#inOrder(async () => {
      if (n < this.next) return this.next;
      refuseFor(n, problemOfChain(signed, this.#last));
      const sha256 = await digest;
      if (signed.checkpoint.sha256 !== sha256) refuseFor(n, "it names other bytes than are here");
      const countersignature = this.#options.countersign({ epoch, at: bytes, hash: sha256 });
      await this.#file.appendFile(`${JSON.stringify({ ...signed, countersignature })}\n`);
      this.#last = signed;
      return this.next;
    });
  }

  /** The manager's own end of a recording, unless its recorder signed that it ends right here. */
  async close(closed: string, what: { epoch: number; at: number; hash: string }): Promise<void> {
    const last = this.#last?.checkpoint;
    if (last?.end === true && last.bytes === what.at) return;
    const countersignature = this.#options.countersign(what);
    await this.#inOrder(async () => {
      await this.#file.appendFile(`${JSON.stringify({ closed, countersignature })}\n`);
    });
  }

  /** Waits until all that was taken is written. */
  async settled(): Promise<void> {
    await this.#order.catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.settled();
    await this.#file.datasync().catch(() => undefined);
    await this.#file.close();
  }

  #problemOfSender(signed: SignedCheckpoint): string | null {
    const { recorderKey, session } = this.#options;
    const expected = recorderKey ?? this.#last?.key;
    if (signed.checkpoint.session !== session) return "it is of another session";
    if (expected !== undefined && signed.key !== expected)
      return "it is signed by another key than the run's recorder has";
    return isCheckpointSigned(signed) ? null : "its signature is wrong";
  }

  #inOrder<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.#order.then(step, step);
    this.#order = turn.catch(() => undefined);
    return turn;
  }
}

function refuseFor(n: number, problem: string | null): void {
  if (problem !== null)
    throw new PlatformError("proof_refused", `Cannot take checkpoint ${n}: ${problem}`);
}
