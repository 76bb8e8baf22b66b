import { BLOCK_MASKS } from "./token-shapes.ts";
import type { TokenShape } from "./token-shapes.ts";

const DASH = 0x2d;
const MAX_GAP = 8;

/** What a run says to a byte: it goes on, it ended before the byte and may be a token, or it is none. */
export type RunStep = "alive" | "ended" | "none";

/** What may become a token: its beginning was read, its body is being read. Positions are of the redactor's buffer. */
export class ShapeRun {
  readonly shape: TokenShape;
  /** in the bytes as they came, or in what a terminal would show of them */
  readonly inText: boolean;
  /** where its beginning begins */
  start: number;
  /** where its body begins; -1 before the first byte of it */
  body = -1;
  /** longer than any such token is: masked, without waiting for its end */
  isOverlong = false;
  #length = 0;
  #gap = 0;
  #dashes = 0;

  constructor(shape: TokenShape, start: number, inText: boolean) {
    this.shape = shape;
    this.start = start;
    this.inText = inText;
  }

  take(byte: number, at: number): RunStep {
    const { shape } = this;
    if (this.#length === 0 && shape.gap[byte] === 1 && this.#gap < MAX_GAP) {
      this.#gap += 1;
      return "alive";
    }
    if (shape.body[byte] !== 1) return this.#length >= shape.min ? "ended" : "none";
    if (this.body === -1) this.body = at;
    this.#length += 1;
    if (shape.block) {
      this.#dashes = byte === DASH ? this.#dashes + 1 : 0;
      if (this.#dashes === 5) return this.#length >= shape.min ? "ended" : "none";
    }
    if (this.#length <= shape.max) return "alive";
    if (shape.exact) return "none";
    this.isOverlong = true;
    return "alive";
  }

  /** Whether it may be a token although its end was not seen. */
  get isLongEnough(): boolean {
    return this.#length >= this.shape.min;
  }

  masks(byte: number): boolean {
    return !this.shape.block || BLOCK_MASKS[byte] === 1;
  }
}
