import { PlatformError } from "../kit/platform-error.ts";
import { MAX_LINE_BYTES } from "../protocol/asciicast.ts";
import { HeaderLine } from "../protocol/asciicast-header.ts";
import type { RecordingReader } from "./recording-reader.ts";

const MAX_HEADER_BYTES = 64 * 1024;
/** Whole seconds of an interval have no more digits: a session is never three years old. */
const MAX_SECONDS_DIGITS = 8;
const NEWLINE = 0x0a;

/** Where in a line the next byte is. `bracket`: after the first byte of an event; `seconds`: in the whole seconds of its time. */
type Place = "start" | "bracket" | "seconds" | "inside";

/**
 * What is never taken into a recording, whoever has the recorder's token: a first line that is no header of a terminal, a line that is
 * neither event nor comment, a time that goes back or far ahead. Looks at how lines begin, at the pace of a search for newlines; what
 * an event says is looked at by those who read it.
 */
export class CastLines {
  #offset: number;
  #place: Place = "start";
  #digits = 0;
  #lineBytes = 0;
  /** the first line as far as it came; null once it was found good */
  #header: Buffer | null = Buffer.alloc(0);

  private constructor(offset: number) {
    this.#offset = offset;
  }

  /** Goes on after the first `size` bytes of a file, which were taken before. */
  static async after(handle: Pick<RecordingReader, "read">, size: number): Promise<CastLines> {
    const lines = new CastLines(0);
    const head = await bytesOf(handle, 0, Math.min(size, MAX_HEADER_BYTES + 1));
    const isInHeader = head.length === size && !head.includes(NEWLINE);
    if (isInHeader) lines.#header = head;
    else {
      lines.#header = null;
      const last = await bytesOf(handle, Math.max(0, size - MAX_SECONDS_DIGITS - 2), size);
      const end = last.lastIndexOf(NEWLINE);
      // Without a newline among them, the time of this line was looked at before.
      if (end === -1) lines.#place = "inside";
      else lines.check(last.subarray(end + 1));
    }
    lines.#offset = size;
    return lines;
  }

  /** Looks at the bytes that follow. Throws `bad_message` that says what is expected, and at which offset something else came. */
  check(bytes: Buffer): void {
    let at = this.#header === null ? 0 : this.#checkHeader(bytes);
    while (at < bytes.length) {
      if (this.#place === "inside") {
        const end = bytes.indexOf(NEWLINE, at);
        this.#lineBytes += (end === -1 ? bytes.length : end) - at;
        if (this.#lineBytes > MAX_LINE_BYTES)
          this.#refuse(at, `Expected lines of at most ${MAX_LINE_BYTES} bytes`);
        if (end === -1) break;
        at = end;
      }
      this.#step(bytes[at] as number, at);
      at += 1;
    }
    this.#offset += bytes.length;
  }

  #step(byte: number, at: number): void {
    if (byte === NEWLINE) {
      this.#place = "start";
      this.#lineBytes = 0;
      return;
    }
    const isDigit = byte >= 0x30 && byte <= 0x39;
    switch (this.#place) {
      case "start":
        if (byte !== 0x23 && byte !== 0x5b) this.#refuse(at, "Expected an event or a comment");
        this.#place = byte === 0x5b ? "bracket" : "inside";
        break;
      case "bracket":
        if (!isDigit) this.#refuse(at, "Expected a time that does not go backwards");
        this.#place = "seconds";
        this.#digits = 1;
        break;
      case "seconds":
        this.#digits += 1;
        if (isDigit && this.#digits > MAX_SECONDS_DIGITS)
          this.#refuse(at, "Expected an interval within the length of a session");
        if (isDigit) return;
        if (byte !== 0x2e && byte !== 0x2c) this.#refuse(at, "Expected an interval in seconds");
        this.#place = "inside";
        break;
      case "inside":
        break;
    }
  }

  /** Gives how many of these bytes belong to the first line. */
  #checkHeader(bytes: Buffer): number {
    const end = bytes.indexOf(NEWLINE);
    const length = end === -1 ? bytes.length : end + 1;
    const header = Buffer.concat([this.#header ?? Buffer.alloc(0), bytes.subarray(0, length)]);
    if (header.length > MAX_HEADER_BYTES)
      this.#refuse(0, `Expected a header of at most ${MAX_HEADER_BYTES} bytes`);
    if (header.length > 0 && header[0] !== 0x7b)
      this.#refuse(0, "Expected the header of an asciicast");
    this.#header = end === -1 ? header : null;
    if (end !== -1 && !isHeader(header.toString("utf8")))
      this.#refuse(0, "Expected the header of an asciicast v3, with a size of at least 1x1");
    return length;
  }

  #refuse(at: number, expected: string): never {
    throw new PlatformError("bad_message", `${expected}, got another at byte ${this.#offset + at}`);
  }
}

function isHeader(text: string): boolean {
  try {
    const parsed = HeaderLine.safeParse(JSON.parse(text));
    return parsed.success && parsed.data.version === 3;
  } catch {
    return false;
  }
}

async function bytesOf(
  handle: Pick<RecordingReader, "read">,
  start: number,
  end: number,
): Promise<Buffer> {
  const bytes = Buffer.alloc(end - start);
  const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
  return bytes.subarray(0, bytesRead);
}
