import { open, type FileHandle } from "node:fs/promises";
import { PlatformError } from "../kit/platform-error.ts";
import type { AuditRecord } from "../protocol/audit.ts";
import { chainLine, type ChainHead, firstPrev, parseChainLine } from "../protocol/audit-chain.ts";
import type { Countersignature } from "../protocol/countersignature.ts";
import type { RunId } from "../protocol/ids.ts";
import { Journal } from "./journal.ts";

/** How often, at most, a countersignature is kept on disk; the last one of a run always is. */
const PROOF_MS = 1000;

export interface AuditFileOptions {
  run: RunId;
  path: string;
  /** countersignatures, one a line */
  proofsPath: string;
  /** registered key of the run's tool-runner; undefined for a run of an earlier build */
  runnerKey: string | undefined;
  countersign: (epoch: number, head: ChainHead) => Countersignature;
}

/**
 * The audit of a run as the manager keeps it: only a line that follows the one before it is taken, and what is on disk is
 * countersigned. Nothing that was once acknowledged can be told otherwise later.
 */
export class AuditFile implements AsyncDisposable {
  readonly #journal: Journal;
  readonly #options: AuditFileOptions;
  readonly #proofs: FileHandle;
  /** the last line taken, and the last one on disk */
  #taken: ChainHead & { epoch: number };
  #durable: ChainHead & { epoch: number };
  #provenSeq = 0;
  #timer: NodeJS.Timeout | null = null;
  #proving: Promise<void> = Promise.resolve();

  private constructor(journal: Journal, proofs: FileHandle, options: AuditFileOptions) {
    this.#journal = journal;
    this.#proofs = proofs;
    this.#options = options;
    const last = journal.lastLine === null ? null : parseChainLine(journal.lastLine);
    this.#durable =
      last === null
        ? { seq: 0, hash: firstPrev(options.run), epoch: 0 }
        : { seq: last.seq, hash: last.hash, epoch: last.epoch };
    this.#taken = this.#durable;
  }

  /** Opens or makes the files. Throws `PlatformError` `bad_message` when the last line is no record. */
  static async open(options: AuditFileOptions): Promise<AuditFile> {
    await using stack = new AsyncDisposableStack();
    const journal = stack.use(await Journal.open(options.path));
    const proofs = await open(options.proofsPath, "a", 0o600);
    stack.defer(async () => await proofs.close());
    const file = new AuditFile(journal, proofs, options);
    stack.move();
    return file;
  }

  /** The last line that is on disk. */
  get head(): ChainHead {
    return { seq: this.#durable.seq, hash: this.#durable.hash };
  }

  /** The manager's signed word on the head; null for an empty chain. */
  countersignature(): Countersignature | null {
    return this.#durable.seq === 0
      ? null
      : this.#options.countersign(this.#durable.epoch, this.head);
  }

  get pendingBytes(): number {
    return this.#journal.pendingBytes;
  }

  async flushed(): Promise<void> {
    await this.#journal.flushed();
  }

  /**
   * Takes the next record. Resolves with true when it is on disk, with false when its number was there already. Throws
   * `PlatformError` `bad_message` for a record that does not follow, or an epoch of another key.
   */
  async append(seq: number, record: AuditRecord): Promise<boolean> {
    if (seq <= this.#taken.seq) {
      await this.flushed();
      return false;
    }
    const line = chainLine(seq, record);
    this.#requireNext(line.seq, line.epoch, line.prev, record);
    const { hash, epoch } = line;
    this.#taken = { seq, hash, epoch };
    try {
      await this.#journal.append(seq, line.text);
    } catch (error) {
      // The journal forgot this line and those behind it; their sender sends them again.
      this.#taken = this.#durable;
      throw error;
    }
    if (seq > this.#durable.seq) this.#durable = { seq, hash, epoch };
    this.#timer ??= setTimeout(() => void this.#prove(), PROOF_MS).unref();
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.flushed();
    await this.#prove();
    await this.#proofs.close();
    await this.#journal[Symbol.asyncDispose]();
  }

  #requireNext(seq: number, epoch: number, prev: string, record: AuditRecord): void {
    const begins = record.type === "epoch_started";
    const isNext =
      seq === this.#taken.seq + 1 &&
      prev === this.#taken.hash &&
      epoch === this.#taken.epoch + (begins ? 1 : 0);
    if (!isNext)
      throw new PlatformError(
        "bad_message",
        `Record ${seq} does not follow record ${this.#taken.seq} of this run's audit`,
      );
    const { runnerKey } = this.#options;
    if (begins && runnerKey !== undefined && record.key !== runnerKey)
      throw new PlatformError(
        "bad_message",
        "The epoch names another key than the one registered for this run",
      );
  }

  /** Keeps the countersignature of the head. A disk that takes none costs the proof, not the audit. */
  #prove(): Promise<void> {
    clearTimeout(this.#timer ?? undefined);
    this.#timer = null;
    const turn = this.#proving.then(async () => {
      const signed = this.countersignature();
      if (signed === null || signed.at <= this.#provenSeq) return;
      await this.#proofs.appendFile(`${JSON.stringify(signed)}\n`);
      this.#provenSeq = signed.at;
    });
    this.#proving = turn.catch(() => undefined);
    return this.#proving;
  }
}
