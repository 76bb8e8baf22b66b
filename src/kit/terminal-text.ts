/** What a byte is to somebody who reads the screen. */
export type ByteRole =
  | "text"
  /** no character of its own: what comes next stands beside what came before */
  | "nothing"
  /** the character before it is not there any more */
  | "erase"
  /** what comes next stands somewhere else */
  | "break";

const GROUND = 0;
const LINE_START = 1;
const ESCAPE = 2;
const ESCAPE_MIDDLE = 3;
const CSI = 4;
const STRING = 5;
const STRING_ESCAPE = 6;

const ESC = 0x1b;
/** A string that never ends is no string. */
const MAX_STRING_BYTES = 64 * 1024;
/** CSI sequences that put the cursor somewhere else. */
const MOVES = new Uint8Array(256);
for (const final of Buffer.from("ABCDEFGHIZ`adefrs")) MOVES[final] = 1;

/**
 * Tells the characters of a terminal's output from what only moves and colours them. A line that ends at the screen's edge goes on in the
 * next one, and spaces at the beginning of a line are not text: programs wrap and indent what they show.
 */
export class TerminalText {
  cols: number;
  #state = GROUND;
  #stringBytes = 0;
  /** where the line began, and how many of its bytes were no text */
  #lineStart = 0;
  #unseen = 0;
  #wrapped = false;

  constructor(cols: number) {
    this.cols = cols;
  }

  /** True while every byte of 0x20 and above is text. */
  get isGround(): boolean {
    return this.#state === GROUND;
  }

  /** `offset`: of the byte in the whole stream. */
  read(byte: number, offset: number): ByteRole {
    const role = this.#read(byte, offset);
    if (role !== "text") this.#unseen += 1;
    return role;
  }

  /** A whole control sequence, on the ground: the same as `read` of each of its bytes. Nobody waits for its role. */
  sequence(final: number, length: number, offset: number): void {
    this.#unseen += length;
    if (MOVES[final] === 1) {
      this.#moved(offset);
      this.#unseen += 1;
    }
  }

  #read(byte: number, offset: number): ByteRole {
    switch (this.#state) {
      case GROUND:
        return byte >= 0x20 || byte === 9 ? "text" : this.#control(byte, offset);
      case LINE_START:
        if (byte === 0x20) return "nothing";
        if (byte < 0x20) return this.#control(byte, offset);
        this.#state = GROUND;
        return "text";
      case STRING:
        return this.#string(byte);
      default:
        return this.#sequence(byte, offset);
    }
  }

  #control(byte: number, offset: number): ByteRole {
    switch (byte) {
      case ESC:
        this.#state = ESCAPE;
        return "nothing";
      case 8:
        return "erase";
      case 10:
      case 13: {
        // CR and LF come in pairs; the first of them knows how long the line was.
        const isPair = byte === 10 && offset === this.#lineStart;
        if (!isPair) this.#wrapped = offset - this.#lineStart - this.#unseen >= this.cols;
        this.#lineStart = offset + 1;
        this.#unseen = -1;
        this.#state = LINE_START;
        return this.#wrapped ? "nothing" : "break";
      }
      default:
        return "nothing";
    }
  }

  #sequence(byte: number, offset: number): ByteRole {
    if (byte === ESC) this.#state = ESCAPE;
    else if (byte === 0x18 || byte === 0x1a) this.#state = GROUND;
    else if (byte < 0x20) return "nothing";
    else if (this.#state === ESCAPE || this.#state === STRING_ESCAPE) this.#escape(byte);
    else if (this.#state === ESCAPE_MIDDLE) this.#state = byte < 0x30 ? ESCAPE_MIDDLE : GROUND;
    else if (byte >= 0x40) {
      this.#state = GROUND;
      if (MOVES[byte] === 1) return this.#moved(offset);
    }
    return "nothing";
  }

  #escape(byte: number): void {
    this.#stringBytes = 0;
    if (byte === 0x5b) this.#state = CSI;
    else if (byte === 0x5d || byte === 0x50 || byte === 0x58 || byte === 0x5e || byte === 0x5f)
      this.#state = STRING;
    else this.#state = byte < 0x30 ? ESCAPE_MIDDLE : GROUND;
  }

  #string(byte: number): ByteRole {
    this.#stringBytes += 1;
    if (byte === ESC) this.#state = STRING_ESCAPE;
    else if (byte === 7 || byte === 0x18 || this.#stringBytes > MAX_STRING_BYTES)
      this.#state = GROUND;
    return "nothing";
  }

  #moved(offset: number): ByteRole {
    const wrapped = offset - this.#lineStart - this.#unseen >= this.cols;
    this.#lineStart = offset + 1;
    this.#unseen = -1;
    return wrapped ? "nothing" : "break";
  }
}
