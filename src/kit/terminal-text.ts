/** What a byte is to somebody who reads the screen. */
export type ByteRole =
  | "text"
  /** no character of its own: what comes next stands beside what came before */
  | "nothing"
  /** the character before it is not there any more */
  | "erase"
  /** the character before it is there `repeats` times more */
  | "repeat"
  /** the first byte of a character or of a control of two bytes: the next one decides, `isControl` says what it was */
  | "lead"
  /** what comes next stands somewhere else */
  | "break";

const GROUND = 0;
const LINE_START = 1;
const ESCAPE = 2;
const ESCAPE_MIDDLE = 3;
const CSI = 4;
const STRING = 5;
const STRING_ESCAPE = 6;
const LEAD = 7;

const ESC = 0x1b;
/** A string that never ends is no string. */
const MAX_STRING_BYTES = 64 * 1024;
/** CSI sequences that put the cursor somewhere else. */
const MOVES = new Uint8Array(256);
for (const final of Buffer.from("ABCDEFGHIZ`adefrsu")) MOVES[final] = 1;
/** The final byte of the sequence that repeats a character. */
export const REPEAT = 0x62;
/** In UTF-8 the controls of 0x80 to 0x9f begin with this byte. */
export const C1_LEAD = 0xc2;
/** More of one character is no part of a value or token. */
const MAX_REPEATS = 64;
const [ADDRESS, ADDRESS_2, COLUMN, COLUMN_2, ROW] = [0x48, 0x66, 0x47, 0x60, 0x64];
const [RIGHT, RIGHT_2, LEFT, UP, DOWN, DOWN_2] = [0x43, 0x61, 0x44, 0x41, 0x42, 0x65];
const STAYS_IN_ROW = new Uint8Array(256);
for (const final of [COLUMN, COLUMN_2, RIGHT, RIGHT_2, LEFT]) STAYS_IN_ROW[final] = 1;
/** A place on the screen, of row or column, that is not known. */
const UNKNOWN = 0;

/**
 * Tells the characters of a terminal's output from what only moves and colours them. A line that ends at the screen's edge goes on in the
 * next one, and spaces at the beginning of a line are not text: programs wrap and indent what they show.
 */
export class TerminalText {
  cols: number;
  #state = GROUND;
  #stringBytes = 0;
  #isStringLead = false;
  /** where the line began, and how many of its bytes were no text */
  #lineStart = 0;
  #unseen = 0;
  #wrapped = false;
  /** where the cursor was at `#lineStart`, from 1 */
  #row = UNKNOWN;
  #column = UNKNOWN;
  /** the first two numbers of a control sequence so far; `#isPlain`: it has nothing else */
  #first = 0;
  #second = 0;
  #isSecond = false;
  #isPlain = true;
  /** where the move goes to that is being looked at, as far as that is known */
  #toRow = UNKNOWN;
  #toColumn = UNKNOWN;
  /** after "repeat": how often */
  repeats = 0;
  /** after the byte behind a "lead": whether both are a control */
  isControl = false;

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

  /** A whole control sequence `CSI … final`, on the ground: the same as `read` of each of its bytes. Nobody waits for its role. */
  sequence(bytes: Uint8Array, from: number, to: number, offset: number): void {
    const final = bytes[to - 1] as number;
    if (MOVES[final] === 1) {
      this.#noNumbers();
      for (let at = from + 2; at < to - 1; at += 1) this.#number(bytes[at] as number);
      this.#unseen += to - from - 1;
      this.#moved(final, offset + to - from - 1);
      this.#unseen += 1;
    } else this.#unseen += to - from;
  }

  #read(byte: number, offset: number): ByteRole {
    switch (this.#state) {
      case GROUND:
        return this.#ground(byte, offset);
      case LINE_START:
        // No text, and all the same a cell.
        if (byte === 0x20) this.#unseen -= 1;
        if (byte === 0x20) return "nothing";
        if (byte < 0x20) return this.#control(byte, offset);
        this.#state = GROUND;
        return this.#ground(byte, offset);
      case LEAD:
        this.#state = GROUND;
        this.isControl = byte >= 0x80 && byte < 0xa0;
        // Both bytes of a control are no text; a character's first one was counted as none too early.
        if (this.isControl) return this.#longControl(byte, offset);
        this.#unseen -= 1;
        return this.#ground(byte, offset);
      case STRING:
        return this.#string(byte);
      default:
        return this.#sequence(byte, offset);
    }
  }

  #ground(byte: number, offset: number): ByteRole {
    if (byte === C1_LEAD) {
      this.#state = LEAD;
      return "lead";
    }
    return byte >= 0x20 || byte === 9 ? "text" : this.#control(byte, offset);
  }

  /** A control of two bytes is what ESC and the letter of its last five bits are. */
  #longControl(byte: number, offset: number): ByteRole {
    if (byte === 0x84 || byte === 0x85 || byte === 0x8d) return this.#moved(byte, offset);
    if (byte !== 0x9c) this.#escape(byte - 0x40);
    return "nothing";
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
        if (!isPair) this.#wrapped = this.#isAtEdge(offset);
        if (byte === 10) this.#startAt(offset, UNKNOWN, isPair ? 1 : UNKNOWN);
        else this.#startAt(offset, this.#row, 1);
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
      if (MOVES[byte] === 1) return this.#moved(byte, offset);
      if (byte === REPEAT) return this.#repeat();
    } else this.#number(byte);
    return "nothing";
  }

  #noNumbers(): void {
    this.#first = 0;
    this.#second = 0;
    this.#isSecond = false;
    this.#isPlain = true;
  }

  #number(byte: number): void {
    const digit = byte - 0x30;
    if (digit < 0 || digit > 9) {
      if (byte !== 0x3b || this.#isSecond) this.#isPlain = false;
      this.#isSecond = true;
    } else if (this.#isSecond) this.#second = 10 * this.#second + digit;
    else this.#first = 10 * this.#first + digit;
  }

  /** The character before stands there so often more. Very often is no part of a token. */
  #repeat(): ByteRole {
    const count = Math.max(1, this.#first);
    this.#unseen -= Math.min(count, 65_535);
    if (count > MAX_REPEATS) return "break";
    this.repeats = count;
    return "repeat";
  }

  #escape(byte: number): void {
    this.#stringBytes = 0;
    this.#isStringLead = false;
    this.#noNumbers();
    if (byte === 0x5b) this.#state = CSI;
    else if (byte === 0x5d || byte === 0x50 || byte === 0x58 || byte === 0x5e || byte === 0x5f)
      this.#state = STRING;
    else this.#state = byte < 0x30 ? ESCAPE_MIDDLE : GROUND;
  }

  #string(byte: number): ByteRole {
    this.#stringBytes += 1;
    const isTerminator = byte === 0x9c && this.#isStringLead;
    this.#isStringLead = byte === C1_LEAD;
    if (byte === ESC) this.#state = STRING_ESCAPE;
    else if (isTerminator || byte === 7 || byte === 0x18 || this.#stringBytes > MAX_STRING_BYTES)
      this.#state = GROUND;
    return "nothing";
  }

  /** A move to where the cursor is already is none: programs paint a line cell by cell. */
  #moved(final: number, offset: number): ByteRole {
    const here = this.#columnAt(offset);
    this.#aim(final, here);
    const [row, column] = [this.#toRow, this.#toColumn];
    const isHere = column === here && column !== UNKNOWN && row === this.#row;
    if (isHere && (row !== UNKNOWN || STAYS_IN_ROW[final] === 1)) return "nothing";
    const wrapped = this.#isAtEdge(offset);
    this.#startAt(offset, row, column);
    return wrapped ? "nothing" : "break";
  }

  /** Where a move goes to; a number that is left out, or 0, is 1. */
  #aim(final: number, here: number): void {
    const [first, second] = [Math.max(1, this.#first), Math.max(1, this.#second)];
    this.#toRow = this.#row;
    this.#toColumn = here;
    switch (this.#isPlain ? final : 0) {
      case ADDRESS:
      case ADDRESS_2:
        this.#toRow = first;
        this.#toColumn = second;
        break;
      case COLUMN:
      case COLUMN_2:
        this.#toColumn = first;
        break;
      case ROW:
        this.#toRow = first;
        break;
      case RIGHT:
      case RIGHT_2:
        if (here !== UNKNOWN) this.#toColumn = here + first;
        break;
      case LEFT:
        if (here !== UNKNOWN) this.#toColumn = Math.max(1, here - first);
        break;
      case UP:
      case DOWN:
      case DOWN_2:
        this.#toRow = UNKNOWN;
        break;
      default:
        this.#toRow = UNKNOWN;
        this.#toColumn = UNKNOWN;
    }
  }

  /** The column of the next character, were all since the line's start one byte and one cell. */
  #columnAt(offset: number): number {
    if (this.#column === UNKNOWN) return UNKNOWN;
    return this.#column + offset - this.#lineStart - this.#unseen;
  }

  #isAtEdge(offset: number): boolean {
    const before = Math.max(0, this.#column - 1);
    return before + offset - this.#lineStart - this.#unseen >= this.cols;
  }

  #startAt(offset: number, row: number, column: number): void {
    this.#lineStart = offset + 1;
    this.#unseen = -1;
    this.#row = row;
    this.#column = column;
  }
}
