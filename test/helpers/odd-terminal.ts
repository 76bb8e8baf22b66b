/** Where real terminals differ from each other, each as one of them does it. */
export interface Oddities {
  /** kitty: CAN and SUB are characters of a text, and ESC too unless `\` follows */
  textKeepsAll: boolean;
  /** rxvt-unicode: CAN does not end a control sequence, ESC begins another one within it; mark and more are passed over */
  csiGoesOn: boolean;
  /** mlterm: BEL and others are passed over within the number of a text */
  numberGoesOn: boolean;
  /** mlterm: a byte that is no UTF-8 is Latin-1, an eight-bit control among them */
  takesLatin1: boolean;
  /** VTE, xterm: eight-bit controls are those of UTF-8 */
  takesC1: boolean;
}

const BEL = 0x07;
const ESC = 0x1b;
const C1 = new Map([
  [0x90, "P"],
  [0x98, "X"],
  [0x9a, "Z"],
  [0x9b, "["],
  [0x9d, "]"],
  [0x9e, "^"],
  [0x9f, "_"],
]);
/** Final bytes that ask, with what before them: none, a mark or more. */
const ASKING =
  /^(?:[<=>?]?.*[cn]|\?.*[umS]|>.*q|.*\$[pwu]|[0-9;]*[xi]|.*\*y|.*[#]R|.*\+p|\?.*2048.*h|.*\$[tx])$/;
const WINDOW_REPORT = /^0*(?:1[1-9]|2[01])(?:;.*)?\$?t$/;

/** A terminal that is as hard to keep quiet as all of them together. It tells what it was made to do. */
export class OddTerminal {
  readonly acts: string[] = [];
  readonly #odd: Oddities;
  #at = 0;
  #codes: number[] = [];

  constructor(odd: Oddities) {
    this.#odd = odd;
  }

  show(bytes: Buffer): string[] {
    this.#codes = decode(bytes, this.#odd.takesLatin1);
    this.#at = 0;
    while (this.#at < this.#codes.length) {
      const code = this.#take();
      if (code === ESC) this.#escape(this.#take());
      else if (code === 0x05) this.acts.push("ENQ");
      else this.#eightBit(code);
    }
    return this.acts;
  }

  /** -1 when there is nothing left. */
  #take(): number {
    return this.#codes[this.#at++] ?? -1;
  }

  #eightBit(code: number): void {
    const final = this.#odd.takesC1 || this.#odd.takesLatin1 ? C1.get(code) : undefined;
    if (final !== undefined) this.#escape(final.charCodeAt(0));
  }

  #escape(first: number): void {
    let code = first;
    while ((code >= 0 && code < 0x20 && code !== 0x18 && code !== 0x1a) || code === 0x7f) {
      if (code === 0x05) this.acts.push("ENQ");
      code = this.#take();
    }
    const final = code < 0 ? "" : String.fromCodePoint(code);
    if (final === "Z") this.acts.push("ESC Z");
    else if (final === "[") this.#csi();
    else if (final === "]") this.#osc();
    else if ("PX^_".includes(final) && final !== "") this.#otherText(final);
    else if (final === "%" && this.#codes[this.#at] === 0x40) this.acts.push("leaves UTF-8");
  }

  #csi(): void {
    let head = "";
    for (;;) {
      const code = this.#take();
      if (code < 0) return;
      if (code === ESC) {
        if (!this.#odd.csiGoesOn) return void (this.#at -= 1);
        this.#escape(this.#take());
      } else if (code === 0x18 || code === 0x1a) {
        if (!this.#odd.csiGoesOn) return;
      } else if (code === 0x05) this.acts.push("ENQ");
      else if (code >= 0x80) return this.#eightBit(code);
      else if (code >= 0x40 && code < 0x7f) return this.#ask(head + String.fromCodePoint(code));
      else if (code >= 0x20 && code < 0x40) head += String.fromCodePoint(code);
    }
  }

  #ask(sequence: string): void {
    const plain = sequence.replaceAll(/[<=>? -/]/g, "");
    for (const read of this.#odd.csiGoesOn ? [sequence, plain] : [sequence])
      if (ASKING.test(read) || WINDOW_REPORT.test(read)) this.acts.push(`CSI ${read}`);
  }

  #osc(): void {
    const text = this.#text(true);
    if (text === null) return;
    const [, digits = "", rest = ""] = /^(\d*)(.*)$/s.exec(text) ?? [];
    // Up to five digits, as kitty; in 32 bits, as others.
    for (const code of new Set([Number(digits) % 2 ** 32, Number(digits.slice(0, 5))])) {
      const isEmpty = rest === "" || rest === ";";
      if ([50, 51, 52, 60, 61, 99, 702, 777, 1337, 5522].includes(code) && !isEmpty)
        this.acts.push(`OSC ${code}`);
      const isColour = code === 4 || code === 5 || (code >= 10 && code <= 22);
      if (isColour && /(?:^|[;=])\?/.test(rest)) this.acts.push(`OSC ${code} asks`);
    }
  }

  #otherText(kind: string): void {
    const text = this.#text(false);
    if (text === null) return;
    if (kind === "P" && /^[\d;]*[$+]q|^@|^tmux;/.test(text)) this.acts.push(`DCS ${text}`);
    if (kind === "_" && text.startsWith("G")) this.acts.push("APC G");
  }

  /** Up to its end; null when it was given up or has none. */
  #text(isOsc: boolean): string | null {
    let text = "";
    for (;;) {
      const code = this.#take();
      if (code < 0) return null;
      const isNumber = /^\d*$/.test(text);
      if (code === ESC) {
        if (this.#codes[this.#at] === 0x5c) return (void (this.#at += 1), text);
        if (!this.#odd.textKeepsAll) return (void (this.#at -= 1), text);
      }
      if ((code === 0x18 || code === 0x1a) && !this.#odd.textKeepsAll) return null;
      if (code === BEL && isOsc && !(this.#odd.numberGoesOn && isNumber)) return text;
      if (code === 0x9c && (this.#odd.takesC1 || this.#odd.takesLatin1)) return text;
      const isPassedOver = code < 0x20 || code === 0x7f;
      if (!isPassedOver || (this.#odd.textKeepsAll && code !== 0 && code !== 0x7f))
        text += String.fromCodePoint(code);
    }
  }
}

function decode(bytes: Buffer, takesLatin1: boolean): number[] {
  if (!takesLatin1)
    return Array.from(bytes.toString("utf8"), (character) => character.codePointAt(0) ?? 0);
  const codes: number[] = [];
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  for (let at = 0; at < bytes.length;) {
    const first = bytes[at] ?? 0;
    const length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    try {
      codes.push(utf8.decode(bytes.subarray(at, at + length)).codePointAt(0) ?? 0);
      at += length;
    } catch {
      const isLead = first >= 0xc2;
      codes.push(isLead ? 0xff_fd : first);
      at += 1;
      // What was cut off is one broken character.
      for (
        let most = isLead ? length : 1;
        most > 1 && ((bytes[at] ?? 0) & 0xc0) === 0x80;
        most -= 1
      )
        at += 1;
    }
  }
  return codes;
}
