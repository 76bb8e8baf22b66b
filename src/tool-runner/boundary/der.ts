/** The few DER constructions that an X.509 certificate needs. Values are byte strings; nothing is parsed here. */

export function der(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag]), lengthOf(content.length), content]);
}

export function sequence(...parts: Buffer[]): Buffer {
  return der(0x30, ...parts);
}

export function setOf(...parts: Buffer[]): Buffer {
  return der(0x31, ...parts);
}

/** A positive integer from its big-endian bytes. */
export function integer(bytes: Buffer): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0);
  const short = first === -1 ? Buffer.from([0]) : bytes.subarray(first);
  const isNegative = (short[0] as number) >= 0x80;
  return der(0x02, isNegative ? Buffer.concat([Buffer.from([0]), short]) : short);
}

export function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return der(0x06, Buffer.from(bytes));
}

export function utf8String(text: string): Buffer {
  return der(0x0c, Buffer.from(text));
}

export function octetString(...parts: Buffer[]): Buffer {
  return der(0x04, ...parts);
}

export function bitString(bytes: Buffer, unusedBits = 0): Buffer {
  return der(0x03, Buffer.from([unusedBits]), bytes);
}

export const TRUE: Buffer = der(0x01, Buffer.from([0xff]));

/** UTCTime until 2049, as RFC 5280 asks, GeneralizedTime after. */
export function time(date: Date): Buffer {
  const digits = `${date.toISOString().replaceAll(/[-:T]/g, "").slice(0, 14)}Z`;
  return date.getUTCFullYear() < 2050
    ? der(0x17, Buffer.from(digits.slice(2)))
    : der(0x18, Buffer.from(digits));
}

/** A context-specific tag, primitive or constructed. */
export function context(number: number, constructed: boolean, ...parts: Buffer[]): Buffer {
  return der(0x80 | (constructed ? 0x20 : 0) | number, ...parts);
}

export function pem(label: string, bytes: Buffer): string {
  const lines = bytes.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

function lengthOf(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const hex = length.toString(16);
  const bytes = Buffer.from(hex.padStart(hex.length + (hex.length % 2), "0"), "hex");
  return Buffer.concat([Buffer.from([0x80 | bytes.length]), bytes]);
}
