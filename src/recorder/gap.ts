import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import type { CastGap } from "../protocol/asciicast.ts";

/** A piece of a gap is written down, and its frames are acknowledged, after this much or this long. */
const PIECE_BYTES = 4 * 1024 * 1024;
const PIECE_MS = 5000;

/** Output that is not recorded: counted and hashed, so that the recording can say exactly what it lacks. */
export class Gap implements Disposable {
  readonly #timer: NodeJS.Timeout;
  #hash: Hash = createHash("sha256");
  #pieceBytes = 0;
  #bytes = 0;

  /** `onTime` is called every 5 s, for a piece that is due. */
  constructor(onTime: () => void) {
    this.#timer = setInterval(onTime, PIECE_MS);
  }

  /** Bytes since the gap began. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes that no `#gap` line stands for yet. */
  get unwrittenBytes(): number {
    return this.#pieceBytes;
  }

  /** Counts the bytes, masked as they would have been written. True: the piece is large enough to be written down. */
  drop(bytes: Buffer): boolean {
    this.#hash.update(bytes);
    this.#pieceBytes += bytes.length;
    this.#bytes += bytes.length;
    return this.#pieceBytes >= PIECE_BYTES;
  }

  /** What the next `#gap` line says; null when nothing was dropped since the last one. */
  takePiece(): CastGap | null {
    if (this.#pieceBytes === 0) return null;
    const piece = { bytes: this.#pieceBytes, sha256: this.#hash.digest("hex") };
    this.#hash = createHash("sha256");
    this.#pieceBytes = 0;
    return piece;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
