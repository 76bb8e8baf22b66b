const Ground = 0;
const Escape = 1;
const EscapeMore = 2;
const Csi = 3;
const Osc = 4;
const Asking = 5;
const Dcs = 6;
const Apc = 7;
const Text = 8;
const Swallow = 9;

const NUL = 0x00;
const CAN = 0x18;
/** Longer heads are of no sequence that a terminal must see, and are cancelled. */
const MAX_HEAD = 256;
/** Colours, fonts and pointer shapes: set by these sequences, and asked for by a `?` in place of a value. */
const ASKING_OSC = new Set([3, 4, 5, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 50]);
/** The clipboard of the person (52, 5522), and what some terminals answer or act on without a `?` (60, 61, 1337). */
const DROPPED_OSC = new Set([52, 60, 61, 1337, 5522]);
/** Reports of a window: position, sizes, icon label and title. */
const WINDOW_REPORTS = new Set([11, 13, 14, 15, 16, 18, 19, 20, 21]);

/**
 * Makes the output of a program fit for a viewer's terminal: exactly one terminal answers its queries, ours, so a viewer's
 * never gets to see one. Bytes are changed in place and none is added or removed, so offsets stay what they are: the byte that
 * would complete a query becomes CAN, which ends a sequence without acting on it, and what is left of its text becomes NUL.
 */
export class QueryFilter {
  #state: number = Ground;
  /** what the open sequence holds so far, as far as it decides */
  #head = "";
  #previous = 0;
  /** the byte before was C2, which with one more makes an eight-bit control of UTF-8 */
  #isLed = false;

  /** Follows bytes that the viewer has already. */
  skip(bytes: Buffer): void {
    this.push(Buffer.from(bytes));
  }

  push(bytes: Buffer): void {
    const { length } = bytes;
    for (let i = 0; i < length; i++) {
      let byte = bytes[i] as number;
      // Nearly all bytes are plain text.
      if (this.#state === Ground && !this.#isLed) {
        while (byte >= 0x20 && byte !== 0xc2 && i < length) byte = bytes[++i] ?? 0;
        if (i >= length) return;
      }
      const shown = this.#next(byte);
      if (shown !== byte) bytes[i] = shown;
    }
  }

  /** Takes a byte, and gives the one to show in its place. */
  #next(byte: number): number {
    if (this.#state === Swallow) return this.#swallow(byte);
    if (byte === CAN || byte === 0x1a) return this.#to(Ground, byte);
    if (byte === 0x1b) return this.#to(Escape, byte);
    const isControl = this.#isLed && byte >= 0x80 && byte <= 0x9f;
    this.#isLed = byte === 0xc2;
    if (isControl) return this.#eightBit(byte);
    switch (this.#state) {
      case Ground:
        return byte === 0x05 ? NUL : byte;
      case Escape:
      case EscapeMore:
      case Csi:
      case Dcs:
        // A character that is not ASCII is of no sequence, and ends one.
        if (byte >= 0x80) return byte === 0xc2 ? byte : this.#to(Ground, byte);
        return this.#inHead(byte);
      case Apc:
        // Pictures: their protocol answers each command unless told not to.
        return byte === 0x47 ? this.#to(Swallow, CAN) : this.#to(Text, byte);
      default:
        return this.#inText(byte);
    }
  }

  #to(state: number, shown: number): number {
    this.#state = state;
    this.#head = "";
    this.#previous = 0;
    this.#isLed = false;
    return shown;
  }

  #afterEscape(byte: number): number {
    if (byte < 0x20) return byte === 0x05 ? NUL : byte;
    if (byte <= 0x2f) return this.#to(EscapeMore, byte);
    // DECID, the oldest of "who are you".
    if (byte === 0x5a) return this.#to(Ground, CAN);
    return this.#to(STRING_STARTS.get(byte) ?? Ground, byte);
  }

  /** The same beginnings in their eight-bit form, in whatever state; the others end what is open. */
  #eightBit(byte: number): number {
    if (byte === 0x9a) return this.#to(Ground, 0x80);
    return this.#to(STRING_STARTS.get(byte - 0x40) ?? Ground, byte);
  }

  #inHead(byte: number): number {
    if (this.#state === Escape) return this.#afterEscape(byte);
    if (this.#state === EscapeMore)
      return byte >= 0x30 && byte <= 0x7e ? this.#to(Ground, byte) : byte;
    return this.#state === Csi ? this.#inCsi(byte) : this.#inDcs(byte);
  }

  #inCsi(byte: number): number {
    if (byte < 0x20) return byte === 0x05 ? NUL : byte;
    if (byte < 0x40) {
      if (this.#head.length < MAX_HEAD) this.#head += String.fromCharCode(byte);
      return byte;
    }
    const isHidden = this.#head.length >= MAX_HEAD || isQuery(this.#head, byte);
    return this.#to(Ground, isHidden ? CAN : byte);
  }

  #inDcs(byte: number): number {
    if (byte < 0x40) {
      if (this.#head.length < MAX_HEAD) this.#head += String.fromCharCode(byte);
      return byte;
    }
    // DECRQSS and XTGETTCAP.
    const asks = byte === 0x71 && /[$+]$/.test(this.#head);
    return asks ? this.#to(Swallow, CAN) : this.#to(Text, byte);
  }

  /** Inside an OSC or another text, up to its end. */
  #inText(byte: number): number {
    if (byte === 0x07) return this.#to(Ground, byte);
    const follows = this.#previous;
    this.#previous = byte;
    if (this.#state === Asking && byte === 0x3f && follows === 0x3b) return this.#to(Swallow, CAN);
    if (this.#state !== Osc) return byte;
    if (byte === 0x3b) {
      const code = Number(this.#head);
      if (DROPPED_OSC.has(code)) return this.#to(Swallow, CAN);
      this.#state = ASKING_OSC.has(code) ? Asking : Text;
    } else if (byte >= 0x30 && byte <= 0x39 && this.#head.length < 16) {
      this.#head += String.fromCharCode(byte);
    } else this.#state = Text;
    return byte;
  }

  #swallow(byte: number): number {
    if (byte === CAN || byte === 0x1a) return this.#to(Ground, byte);
    // In its place after a cancelled text, the rest of a terminator does nothing.
    if (byte === 0x1b) return this.#to(Escape, byte);
    if (byte === 0x07 || (this.#previous === 0xc2 && byte === 0x9c)) return this.#to(Ground, NUL);
    this.#previous = byte;
    return NUL;
  }
}

/** What follows ESC (or, plus 0x40, C2) to begin a sequence: CSI, OSC, DCS, APC, SOS, PM. */
const STRING_STARTS = new Map([
  [0x5b, Csi],
  [0x5d, Osc],
  [0x50, Dcs],
  [0x5f, Apc],
  [0x58, Text],
  [0x5e, Text],
]);

/** Whether a terminal would answer `CSI head final`. */
function isQuery(head: string, final: number): boolean {
  const marker = /^[<=>?]/.exec(head)?.[0] ?? "";
  const more = /[ -/]+$/.exec(head)?.[0] ?? "";
  switch (String.fromCharCode(final)) {
    case "c":
      return more === "";
    case "n":
      return more === "" && marker !== ">";
    case "u":
    case "S":
    case "m":
      return marker === "?";
    case "q":
      return marker === ">";
    case "p":
      return more === "$";
    case "t":
      return marker === "" && more === "" && WINDOW_REPORTS.has(Number(head.split(/[;:]/)[0]));
    case "x":
      return marker === "" && more === "";
    case "w":
      return more === "$";
    case "y":
      return more === "*";
    case "|":
      return more === "'" || more === "#";
    case "R":
    case "P":
      return more === "#";
    default:
      return false;
  }
}
