import {
  beginsShownOsc,
  endsShownOsc,
  isShownCsi,
  isShownEscape,
  isShownInOsc,
  isShownOsc,
} from "./viewer-sequences.ts";

const Ground = 0;
const Escape = 1;
const Csi = 2;
const OscNumber = 3;
const OscText = 4;
const OscEscape = 5;
const OscClosing = 6;
/** Of what nobody gets to see: a text, what follows its ESC, a control sequence, a character that is not ASCII. */
const HiddenText = 7;
const HiddenEscape = 8;
const HiddenCsi = 9;
const HiddenCharacter = 10;

const NUL = 0x00;
const ENQ = 0x05;
const BEL = 0x07;
const CAN = 0x18;
const SUB = 0x1a;
const ESC = 0x1b;
const SEMICOLON = 0x3b;
const BACKSLASH = 0x5c;
const DEL = 0x7f;
/** Ends a control sequence and means nothing: an operation on forms that no terminal has. */
const NO_OPERATION = 0x6f;
/** Is in no UTF-8, and shown as one broken character. */
const NO_UTF8 = 0xff;
/** The lead of U+0080 to U+009F, the eight-bit controls. */
const C1_LEAD = 0xc2;
/** Longer ones are of no sequence that a terminal must see. */
const MAX_HEAD = 256;
const MAX_TEXT = 8192;

/**
 * Makes the output of a program fit for a person's terminal: text passes, and the sequences that a viewer needs. Exactly one terminal
 * answers queries, ours; nothing that an agent prints writes the clipboard or does anything but show. Bytes are changed in place and
 * none is added or removed, so offsets stay what they are.
 *
 * Terminals differ in what they make of odd bytes: what cancels a sequence in one is a part of it in another. So a sequence that must
 * not pass is not cancelled but ended, in a way that ends it in all of them, before it means what it was to mean: `ESC \`, `CSI … o`,
 * `OSC … ; BEL`. What is left of it becomes NUL. Where this filter takes for a part of a sequence what is text to a terminal, no harm
 * comes of it; the other way round must not be.
 */
export class ViewerFilter {
  #state: number = Ground;
  /** what the open sequence holds so far, as far as it decides */
  #head = "";
  /** of the open text: its bytes so far, whether only spaces came, and whether BEL ends it */
  #textBytes = 0;
  #isFirst = false;
  #bellEnds = false;
  /** of a text that is being closed: the program has ended it itself */
  #isOver = false;
  /** how many more bytes the open character needs, and from where to where the next one may be */
  #needed = 0;
  #low = 0x80;
  #high = 0xbf;
  /** the byte before was the lead of an eight-bit control */
  #isC1 = false;

  /** Between sequences and characters: a viewer may be sent something else here. */
  get isBetween(): boolean {
    return this.#state === Ground && this.#needed === 0;
  }

  /** Follows bytes that the viewer has already. */
  skip(bytes: Buffer): void {
    this.push(Buffer.from(bytes));
  }

  push(bytes: Buffer): void {
    const { length } = bytes;
    for (let i = 0; i < length; i++) {
      let byte = bytes[i] as number;
      // Nearly all bytes are plain text.
      if (this.#state === Ground && this.#needed === 0) {
        while (byte >= 0x20 && byte < 0x80 && i < length) byte = bytes[++i] ?? 0;
        if (i >= length) return;
      }
      const shown = this.#next(byte);
      if (shown !== byte) bytes[i] = shown;
    }
  }

  /** Takes a byte, and gives the one to show in its place. */
  #next(byte: number): number {
    if (this.#state === HiddenCharacter) {
      if (byte >= 0x80 && byte <= 0xbf) return NUL;
      this.#state = Ground;
    }
    if (byte >= 0x80) return this.#beyondAscii(byte);
    this.#needed = 0;
    this.#isC1 = false;
    switch (this.#state) {
      case Ground:
        if (byte === ESC) this.#begin(Escape);
        return byte === ENQ ? NUL : byte;
      case Escape:
        return this.#inEscape(byte);
      case Csi:
        return this.#inCsi(byte);
      case OscNumber:
        return this.#inOscNumber(byte);
      case OscText:
        return this.#inOscText(byte);
      case OscClosing:
        return this.#inOscClosing(byte);
      case OscEscape:
        if (byte === BACKSLASH) this.#state = Ground;
        else this.#hideAfterEscape(byte);
        return BACKSLASH;
      default:
        return this.#inHidden(byte);
    }
  }

  #begin(state: number): void {
    this.#state = state;
    this.#head = "";
  }

  #end(shown: number): number {
    this.#state = Ground;
    return shown;
  }

  /** Ends a text for the terminal, and hides the rest of it. */
  #hideText(shown: number, bellEnds: boolean): number {
    this.#state = HiddenText;
    this.#bellEnds = bellEnds;
    return shown;
  }

  #inEscape(byte: number): number {
    if (byte === ESC) this.#begin(Escape);
    else if (byte === CAN || byte === SUB) return this.#end(this.#head === "" ? BACKSLASH : byte);
    else if (byte < 0x20 || byte === DEL) return byte === ENQ ? NUL : byte;
    else if (byte < 0x30) {
      if (this.#head.length < MAX_HEAD) this.#head += String.fromCharCode(byte);
    } else if (this.#head === "" && byte === 0x5b) this.#begin(Csi);
    else if (this.#head === "" && byte === 0x5d) this.#begin(OscNumber);
    else if (this.#head === "" && TEXTS.has(byte)) return this.#hideText(BACKSLASH, false);
    else return this.#end(isShownEscape(this.#head, String.fromCharCode(byte)) ? byte : BACKSLASH);
    return byte;
  }

  #inCsi(byte: number): number {
    if (byte === ESC) {
      // To rxvt-unicode a sequence within this one, which then goes on.
      this.#state = HiddenEscape;
      return NO_OPERATION;
    }
    if (byte === CAN || byte === SUB) return this.#end(NO_OPERATION);
    if (byte < 0x20 || byte === DEL) return byte === ENQ ? NUL : byte;
    if (byte >= 0x40)
      return this.#end(isShownCsi(this.#head, String.fromCharCode(byte)) ? byte : NO_OPERATION);
    if (this.#head.length < MAX_HEAD) this.#head += String.fromCharCode(byte);
    else {
      this.#state = HiddenCsi;
      return NO_OPERATION;
    }
    return byte;
  }

  #inOscNumber(byte: number): number {
    if (byte === ESC || (byte === BEL && endsShownOsc(this.#head))) return this.#leaveOsc(byte);
    const isDigit = byte >= 0x30 && byte <= 0x39;
    if (isDigit) this.#head += String.fromCharCode(byte);
    if (isDigit && beginsShownOsc(this.#head)) return byte;
    if (byte !== SEMICOLON || !isShownOsc(this.#head)) return this.#closeOsc(byte);
    this.#state = OscText;
    this.#textBytes = 0;
    this.#isFirst = true;
    return byte;
  }

  /** Within a number mlterm passes over a BEL: it has to come after the number. */
  #closeOsc(byte: number): number {
    this.#state = OscClosing;
    this.#isOver = byte === BEL || byte === CAN || byte === SUB;
    return SEMICOLON;
  }

  #inOscClosing(byte: number): number {
    if (byte === ESC) this.#state = HiddenEscape;
    else if (this.#isOver) this.#state = Ground;
    else return this.#leaveOsc(byte);
    return BEL;
  }

  #inOscText(byte: number): number {
    if (byte < 0x20 || byte === DEL || this.#textBytes >= MAX_TEXT) return this.#leaveOsc(byte);
    if (!isShownInOsc(this.#head, byte, this.#isFirst)) return this.#leaveOsc(byte);
    this.#textBytes += 1;
    this.#isFirst &&= byte === 0x20;
    return byte;
  }

  /** At a byte that no text that may pass has, its proper ends among them. */
  #leaveOsc(byte: number): number {
    if (byte === ESC) {
      this.#state = OscEscape;
      return byte;
    }
    const isOver = byte === BEL || byte === CAN || byte === SUB;
    return isOver ? this.#end(BEL) : this.#hideText(BEL, true);
  }

  /** Hides the sequence that begins by ESC and this byte. */
  #hideAfterEscape(byte: number): void {
    if (byte === 0x5b) this.#state = HiddenCsi;
    else if (byte === 0x5d || TEXTS.has(byte)) this.#hideText(NUL, byte === 0x5d);
    else this.#state = byte < 0x30 && byte !== CAN && byte !== SUB ? HiddenEscape : Ground;
  }

  #inHidden(byte: number): number {
    if (byte === ESC) {
      this.#begin(Escape);
      return byte;
    }
    if (byte === CAN || byte === SUB) return this.#end(NUL);
    if (this.#state === HiddenEscape) this.#hideAfterEscape(byte);
    else if (
      this.#state === HiddenCsi ? byte >= 0x40 && byte < DEL : byte === BEL && this.#bellEnds
    )
      this.#state = Ground;
    return NUL;
  }

  #beyondAscii(byte: number): number {
    const isC1 = this.#isC1 && byte <= 0x9f;
    const isPart = this.#isPart(byte);
    this.#isC1 = byte === C1_LEAD;
    switch (this.#state) {
      case Ground:
        if (isC1) return this.#eightBit(byte);
        // Alone it is broken, but some terminals take it for the control that it is in Latin-1.
        return !isPart && byte <= 0x9f ? NO_UTF8 : byte;
      case OscText:
        this.#isFirst = false;
        this.#textBytes += 1;
        if (isC1 && byte === 0x9c) return this.#end(BEL);
        return isC1 || (!isPart && byte <= 0x9f) ? this.#hideText(BEL, true) : byte;
      case OscNumber:
        return this.#closeOsc(byte);
      case OscClosing:
        return this.#isOver ? this.#hideCharacter(BEL) : this.#hideText(BEL, true);
      case OscEscape:
        return this.#end(this.#hideCharacter(BACKSLASH));
      case Escape:
        return this.#hideCharacter(BACKSLASH);
      case Csi:
        return this.#hideCharacter(NO_OPERATION);
      case HiddenText:
        return isC1 && byte === 0x9c ? this.#end(NUL) : NUL;
      default:
        return this.#hideCharacter(NUL);
    }
  }

  #hideCharacter(shown: number): number {
    this.#state = HiddenCharacter;
    this.#needed = 0;
    this.#isC1 = false;
    return shown;
  }

  /** U+0080 to U+009F, of which the lead has passed. */
  #eightBit(byte: number): number {
    if (byte === 0x9b) this.#begin(Csi);
    else if (byte === 0x9d) this.#begin(OscNumber);
    else if (TEXTS.has(byte - 0x40)) return this.#hideText(0x80, false);
    // DECID, the oldest of "who are you".
    else if (byte === 0x9a) return 0x80;
    return byte;
  }

  /** Follows UTF-8. False for a byte that is no part of a character. */
  #isPart(byte: number): boolean {
    if (this.#needed > 0 && byte >= this.#low && byte <= this.#high) {
      this.#needed -= 1;
      this.#low = 0x80;
      this.#high = 0xbf;
      return true;
    }
    this.#needed = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
    // No longer form than needed, no surrogates, nothing beyond U+10FFFF.
    this.#low = byte === 0xe0 ? 0xa0 : byte === 0xf0 ? 0x90 : 0x80;
    this.#high = byte === 0xed ? 0x9f : byte === 0xf4 ? 0x8f : 0xbf;
    const isLead = byte >= 0xc2 && byte <= 0xf4;
    if (!isLead) this.#needed = 0;
    return isLead;
  }
}

/** What follows ESC (or, plus 0x40, C2) to begin a text that nobody gets to see: DCS, SOS, PM, APC. */
const TEXTS = new Set([0x50, 0x58, 0x5e, 0x5f]);
