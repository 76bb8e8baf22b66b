// The forms in which a secret may hide in bytes.

export interface FoundSecret {
  form: string;
  offset: number;
}

/** Every place where `secret` stands in `haystack`, plain or encoded. */
export function findSecret(haystack: Buffer, secret: string): FoundSecret[] {
  return formsOf(secret).flatMap(({ form, bytes }) => {
    const offset = haystack.indexOf(bytes);
    return offset < 0 ? [] : [{ form, offset }];
  });
}

function formsOf(secret: string): { form: string; bytes: Buffer }[] {
  const raw = Buffer.from(secret);
  const hex = raw.toString("hex");
  const percent = [...raw].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
  const forms: [string, Buffer | string][] = [
    ["plain", raw],
    ["URL", encodeURIComponent(secret)],
    ["percent", percent],
    ["percent upper", percent.toUpperCase()],
    ["JSON", JSON.stringify(secret).slice(1, -1)],
    ["JSON escapes", [...raw].map((byte) => `\\u00${byte.toString(16).padStart(2, "0")}`).join("")],
    ["hex", hex],
    ["hex upper", hex.toUpperCase()],
    ["reversed", Buffer.from(raw).reverse()],
    ["UTF-16LE", Buffer.from(secret, "utf16le")],
    // What a base64 of a longer text holds of the secret, at each of the three alignments.
    ...[0, 1, 2].map((shift): [string, string] => [
      `base64 +${shift}`,
      base64Core(raw, shift, "base64"),
    ]),
    ...[0, 1, 2].map((shift): [string, string] => [
      `base64url +${shift}`,
      base64Core(raw, shift, "base64url"),
    ]),
  ];
  return forms.map(([form, bytes]) => ({ form, bytes: Buffer.from(bytes) }));
}

function base64Core(raw: Buffer, shift: number, encoding: "base64" | "base64url"): string {
  const text = Buffer.concat([Buffer.alloc(shift), raw])
    .toString(encoding)
    .replaceAll("=", "");
  const start = shift === 0 ? 0 : shift + 1;
  const whole = Math.floor(((raw.length + shift) * 8) / 6);
  return text.slice(start, whole);
}
