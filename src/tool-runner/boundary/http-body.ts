import { type Framing, MalformedMessage, parseFields } from "./http-head.ts";

const MAX_SIZE_LINE = 256;
const MAX_TRAILER_BYTES = 16 * 1024;
const CRLF = Buffer.from("\r\n");
const NOTHING: Buffer = Buffer.alloc(0);

/** What a piece of bytes held of a body. */
export interface BodyPiece {
  data: Buffer[];
  /** the body is whole; what follows it is in `rest` */
  isDone: boolean;
  rest: Buffer;
}

/**
 * Takes a body out of a stream of bytes by its framing. Strict: one CRLF after each size and each chunk, sizes in plain hex.
 * Throws `MalformedMessage`. Holds at most a size line or the trailers.
 */
export class BodyReader {
  /** Trailers, once the body is done. */
  trailers: string[] = [];
  readonly #kind: Framing["kind"];
  readonly #extensions: boolean;
  #left: number;
  #state: "size" | "data" | "after" | "trailers" | "done";
  #held = NOTHING;

  /** `extensions`: whether chunks may have some; they are dropped. */
  constructor(framing: Framing, options: { extensions: boolean }) {
    this.#kind = framing.kind;
    this.#extensions = options.extensions;
    this.#left = framing.kind === "length" ? framing.bytes : 0;
    const isEmpty = framing.kind === "none" || (framing.kind === "length" && framing.bytes === 0);
    this.#state = isEmpty ? "done" : framing.kind === "chunked" ? "size" : "data";
  }

  get isDone(): boolean {
    return this.#state === "done";
  }

  push(bytes: Buffer): BodyPiece {
    if (this.#state === "done") return { data: [], isDone: true, rest: bytes };
    if (this.#kind === "close") return { data: [bytes], isDone: false, rest: NOTHING };
    if (this.#kind === "length") {
      const data = bytes.subarray(0, this.#left);
      this.#left -= data.length;
      if (this.#left === 0) this.#state = "done";
      return { data: [data], isDone: this.isDone, rest: bytes.subarray(data.length) };
    }
    return this.#pushChunked(bytes);
  }

  /** The stream has ended. Throws unless the body is whole. */
  end(): void {
    if (this.#state !== "done" && this.#kind !== "close")
      throw new MalformedMessage("the connection was closed before its body was whole");
    this.#state = "done";
  }

  #pushChunked(bytes: Buffer): BodyPiece {
    const data: Buffer[] = [];
    let left = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    this.#held = NOTHING;
    while (left.length > 0 && !this.isDone) {
      if (this.#state === "data") {
        const piece = left.subarray(0, this.#left);
        data.push(piece);
        this.#left -= piece.length;
        left = left.subarray(piece.length);
        if (this.#left === 0) this.#state = "after";
        continue;
      }
      const line = this.#takeLine(left);
      if (line === null) {
        this.#held = Buffer.from(left);
        return { data, isDone: false, rest: NOTHING };
      }
      left = left.subarray(line.length + 2);
      this.#takeControl(line.toString("latin1"));
    }
    return { data, isDone: this.isDone, rest: left };
  }

  /** A whole line without its end, or null while it is not there. */
  #takeLine(bytes: Buffer): Buffer | null {
    const limit = this.#state === "trailers" ? MAX_TRAILER_BYTES : MAX_SIZE_LINE;
    const end = bytes.indexOf(CRLF);
    if (end > limit || (end === -1 && bytes.length > limit + 1))
      throw new MalformedMessage("a chunk's size or a trailer is too long");
    return end === -1 ? null : bytes.subarray(0, end);
  }

  #takeControl(line: string): void {
    if (this.#state === "after") {
      if (line !== "") throw new MalformedMessage("a chunk is longer than its size");
      this.#state = "size";
    } else if (this.#state === "size") {
      const match = /^([0-9A-Fa-f]{1,12})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?$/.exec(line);
      const isPlain = /^[0-9A-Fa-f]+$/.test(line);
      if (match === null || (!this.#extensions && !isPlain))
        throw new MalformedMessage("a chunk's size is malformed");
      this.#left = Number.parseInt(match[1] as string, 16);
      this.#state = this.#left === 0 ? "trailers" : "data";
    } else if (line === "") {
      this.#state = "done";
    } else {
      this.trailers.push(...parseFields([line], 0).rawHeaders);
      const size = this.trailers.reduce((sum, text) => sum + text.length, 0);
      if (size > MAX_TRAILER_BYTES) throw new MalformedMessage("the trailers are too long");
    }
  }
}
