const Ground = 0;
const Escape = 1;
const EscapeMore = 2;
const Csi = 3;
const Text = 4;
const TextEscape = 5;
const Utf8 = 6;

/**
 * Follows a terminal stream and knows where whole things end: the offset after the last byte that is not inside an escape
 * sequence or a UTF-8 character. A stream may be cut there and a fresh terminal may read on.
 */
export class SequenceScanner {
  #state: number = Ground;
  #pending = 0;
  #offset = 0;
  #boundary = 0;

  /** The last offset that was outside any sequence. */
  get boundary(): number {
    return this.#boundary;
  }

  /** Whether the last byte ended a whole thing. */
  get isWhole(): boolean {
    return this.#state === Ground;
  }

  /**
   * What begins the sequence that the last byte is in, for a fresh terminal that has to read on from here; empty outside of one. Like
   * xterm we set no limit to a text: an image may be of megabytes, and one without an end hides what follows to the end.
   */
  get unfinished(): string {
    if (this.#state === Text || this.#state === TextEscape) return "\u001b]";
    return this.#state === Csi ? "\u001b[" : "";
  }

  /** Forgets what came before: the next byte is at `offset`, outside any sequence. */
  startAt(offset: number): void {
    this.#state = Ground;
    this.#offset = offset;
    this.#boundary = offset;
  }

  push(bytes: Buffer): void {
    let boundary = -1;
    for (let i = 0; i < bytes.length; i++) {
      this.#state = this.#next(bytes[i] ?? 0);
      if (this.#state === Ground) boundary = i + 1;
    }
    if (boundary !== -1) this.#boundary = this.#offset + boundary;
    this.#offset += bytes.length;
  }

  #next(byte: number): number {
    // CAN and SUB end any sequence; ESC begins one, or ends a text.
    if (byte === 0x18 || byte === 0x1a) return Ground;
    if (byte === 0x1b) return this.#state === Text ? TextEscape : Escape;
    switch (this.#state) {
      case Escape:
        return afterEscape(byte);
      case EscapeMore:
        return byte >= 0x30 && byte <= 0x7e ? Ground : EscapeMore;
      case Csi:
        return byte >= 0x40 && byte <= 0x7e ? Ground : Csi;
      case Text:
        return byte === 0x07 ? Ground : Text;
      case TextEscape:
        return byte === 0x5c ? Ground : afterEscape(byte);
      default:
        return this.#plain(byte);
    }
  }

  #plain(byte: number): number {
    if (byte < 0x80) return Ground;
    if (byte >= 0xc2 && byte <= 0xf4) {
      this.#pending = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
      return Utf8;
    }
    if (this.#state !== Utf8 || byte > 0xbf) return Ground;
    this.#pending -= 1;
    return this.#pending > 0 ? Utf8 : Ground;
  }
}

function afterEscape(byte: number): number {
  if (byte === 0x5b) return Csi;
  // OSC, DCS, SOS, PM, APC run to their terminator.
  if ([0x5d, 0x50, 0x58, 0x5e, 0x5f].includes(byte)) return Text;
  if (byte >= 0x20 && byte <= 0x2f) return EscapeMore;
  return byte < 0x20 ? Escape : Ground;
}
