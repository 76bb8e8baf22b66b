import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { open, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";

/** What may wait for the disk when it becomes full, and the lines that close a recording, fit into it. */
export const RESERVE_BYTES = 4 * 1024 * 1024;
/** Of the reserve below a quota, so much takes no output: `#gap` lines, markers and the exit fit into it. */
export const CLOSING_BYTES = 1024 * 1024;
const BLOCK_BYTES = 256 * 1024;

/** Room on the disk that is taken in advance: given back piece by piece when there is no other, and taken again later. */
export class SpoolReserve implements AsyncDisposable {
  readonly #path: string;
  readonly #file: FileHandle;
  #bytes = 0;
  #order: Promise<unknown> = Promise.resolve();

  private constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
  }

  /** Takes as much as there is. */
  static async open(path: string): Promise<SpoolReserve> {
    const file = await open(
      path,
      constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW,
      0o600,
    );
    const reserve = new SpoolReserve(path, file);
    await reserve.refill();
    return reserve;
  }

  get isWhole(): boolean {
    return this.#bytes === RESERVE_BYTES;
  }

  /** Gives back room for at least `bytes`, as far as there is any. False: there was none. */
  async give(bytes: number): Promise<boolean> {
    return await this.#inOrder(async () => {
      if (this.#bytes === 0) return false;
      const blocks = Math.ceil(bytes / BLOCK_BYTES);
      this.#bytes = Math.max(0, this.#bytes - blocks * BLOCK_BYTES);
      await this.#file.truncate(this.#bytes);
      return true;
    });
  }

  /** Takes what is missing. False: the disk has no room for it. */
  async refill(): Promise<boolean> {
    return await this.#inOrder(async () => {
      while (!this.isWhole && (await this.#takeBlock())) this.#bytes += BLOCK_BYTES;
      return this.isWhole;
    });
  }

  async #takeBlock(): Promise<boolean> {
    try {
      // Not zeros: a file system that compresses would keep no room for them.
      const { bytesWritten } = await this.#file.write(
        randomBytes(BLOCK_BYTES),
        0,
        BLOCK_BYTES,
        this.#bytes,
      );
      await this.#file.datasync();
      if (bytesWritten === BLOCK_BYTES) return true;
    } catch {
      // No room: what is not a whole block is given back.
    }
    await this.#file.truncate(this.#bytes).catch(() => undefined);
    return false;
  }

  #inOrder(step: () => Promise<boolean>): Promise<boolean> {
    const turn = this.#order.then(step, step);
    this.#order = turn.catch(() => false);
    return turn;
  }

  async remove(): Promise<void> {
    await unlink(this.#path).catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#order;
    await this.#file.close().catch(() => undefined);
  }
}
