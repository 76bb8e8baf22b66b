import type { Frame } from "../protocol/frames.ts";
import { encodeFrame } from "../protocol/frames.ts";

/** Many frames share one; of what was never filled no page costs memory. */
const BLOCK_BYTES = 1024 * 1024;
/** Free blocks that are kept for what comes next. */
const SPARE_BLOCKS = 4;

/** Memory of frames, filled from its beginning on, and again once all that are in it are acknowledged. */
interface Block {
  readonly memory: Buffer;
  filled: number;
  frames: number;
}

/** A frame that the recorder does not have for certain yet. */
interface UnackedFrame {
  readonly seq: number;
  readonly data: Buffer;
  readonly block: Block;
}

/**
 * Encoded frames in order, until they are acknowledged. Taking many from the front costs little. Their memory is used again: with a
 * buffer for each, a fast stream keeps the garbage collector busier than anything else.
 */
export class UnackedFrames {
  #frames: UnackedFrame[] = [];
  #head = 0;
  #bytes = 0;
  #block = newBlock();
  readonly #spare: Block[] = [];

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#frames.length - this.#head;
  }

  /** Keeps a frame as it goes over the wire; gives these bytes, which stay as they are until it is acknowledged. */
  push(frame: Frame): Buffer {
    const data = encodeFrame(frame, (bytes) => this.#room(bytes));
    const block = this.#block;
    block.filled += data.length;
    block.frames += 1;
    this.#frames.push({ seq: frame.seq, data, block });
    this.#bytes += data.length;
    return data;
  }

  /** Forgets all frames up to and with `seq`; the number of frames forgotten. */
  forget(seq: number): number {
    const before = this.#head;
    for (let frame = this.#frames[this.#head]; frame !== undefined && frame.seq <= seq;) {
      this.#bytes -= frame.data.length;
      this.#leave(frame.block);
      this.#head += 1;
      frame = this.#frames[this.#head];
    }
    const forgotten = this.#head - before;
    // Compacted when half of the list is spent, so that the work stays proportional to the frames.
    if (this.#head > 64 && this.#head * 2 > this.#frames.length) {
      this.#frames = this.#frames.slice(this.#head);
      this.#head = 0;
    }
    return forgotten;
  }

  /** The bytes of each frame. */
  *[Symbol.iterator](): Generator<Buffer> {
    for (let at = this.#head; at < this.#frames.length; at++) {
      const frame = this.#frames[at];
      if (frame !== undefined) yield frame.data;
    }
  }

  /** Room in the block that is being filled; when it has none, in the next one. */
  #room(bytes: number): Buffer {
    if (this.#block.filled + bytes > this.#block.memory.length)
      this.#block = (bytes <= BLOCK_BYTES ? this.#spare.pop() : undefined) ?? newBlock(bytes);
    return this.#block.memory.subarray(this.#block.filled, this.#block.filled + bytes);
  }

  /**
   * A frame of the block was acknowledged. The recorder then has its bytes, so no socket reads them any more: one that was given up
   * before is closed.
   */
  #leave(block: Block): void {
    block.frames -= 1;
    if (block.frames > 0) return;
    block.filled = 0;
    const isSpare = block !== this.#block && block.memory.length === BLOCK_BYTES;
    if (isSpare && this.#spare.length < SPARE_BLOCKS) this.#spare.push(block);
  }
}

/** Not from Node's pool, and without a page that was touched. */
function newBlock(bytes = 0): Block {
  return {
    memory: Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, bytes)),
    filled: 0,
    frames: 0,
  };
}
