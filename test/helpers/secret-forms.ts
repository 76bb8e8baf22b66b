// The forms in which a secret may hide in bytes. Written without a look at the redactor's own list, so that each checks the other.

export interface FoundSecret {
  form: string;
  offset: number;
}

/** Every form in which `secret` stands in `haystack`, plain or rendered, with its first place. */
export function findSecret(haystack: Buffer, secret: string | Buffer): FoundSecret[] {
  return formsOf(secret).flatMap(({ form, bytes }) => {
    const offset = haystack.indexOf(bytes);
    return offset < 0 ? [] : [{ form, offset }];
  });
}

/** Forty-eight ways in which programs write bytes down. Some are the same text for a secret of plain characters. */
export function formsOf(secret: string | Buffer): { form: string; bytes: Buffer }[] {
  const raw = Buffer.from(secret);
  const text = raw.toString("utf8");
  // What a server that reads header fields as latin1, as Node does, takes the secret for.
  const misread = raw.toString("latin1");
  const hex = raw.toString("hex");
  const each = (render: (byte: number) => string) => [...raw].map(render).join("");
  const two = (byte: number) => byte.toString(16).padStart(2, "0");
  const percent = each((byte) => `%${two(byte)}`);
  const units = (from: string, render: (code: number) => string) =>
    from.replaceAll(/[^]/g, (char) => render(char.charCodeAt(0)));
  const points = (render: (code: number) => string) =>
    Array.from(text, (char) => render(char.codePointAt(0) ?? 0)).join("");
  const four = (code: number) => code.toString(16).padStart(4, "0");
  const json = JSON.stringify(text).slice(1, -1);
  const slashed = json.replaceAll("/", "\\/");
  const url = encodeURIComponent(text);
  const lower = (escaped: string) => escaped.replaceAll(/%../g, (part) => part.toLowerCase());
  const html = (quote: string, apostrophe: string) =>
    text
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', quote)
      .replaceAll("'", apostrophe);
  const wide = Buffer.from(text, "utf16le");
  const pair = (user: string) => Buffer.concat([Buffer.from(`${user}:`), raw]).toString("base64");
  const forms: [string, Buffer | string][] = [
    ["plain", raw],
    ["reversed", Buffer.from(raw).reverse()],
    ["first half", raw.subarray(0, Math.max(12, raw.length >> 1))],
    ["second half", raw.subarray(-Math.max(12, raw.length >> 1))],
    ["middle", raw.subarray((raw.length - 12) >> 1, (raw.length + 12) >> 1)],
    ["hex", hex],
    ["hex upper", hex.toUpperCase()],
    ["URL", url],
    ["URL lower", lower(url)],
    ["form", url.replaceAll("%20", "+")],
    ["strict URL", url.replaceAll(/[!'()*]/g, (char) => `%${two(char.charCodeAt(0))}`)],
    ["percent", percent],
    ["percent upper", percent.toUpperCase()],
    ["JSON", json],
    ["JSON, slashes escaped", slashed],
    ["JSON, ASCII only", units(json, (code) => (code < 0x7f ? char(code) : `\\u${four(code)}`))],
    ["JSON, HTML-safe", units(json, (code) => (safe(code) ? char(code) : `\\u${four(code)}`))],
    ["JSON escapes", units(text, (code) => `\\u${four(code)}`)],
    ["JSON escapes upper", units(text, (code) => `\\u${four(code).toUpperCase()}`)],
    ["HTML", html("&quot;", "&#39;")],
    ["HTML, hex apostrophe", html("&quot;", "&#x27;")],
    ["HTML, numeric quote", html("&#34;", "&#39;")],
    ["XML", html("&quot;", "&apos;")],
    ["HTML text", html('"', "'")],
    ["HTML decimal", points((code) => `&#${code};`)],
    ["HTML hex", points((code) => `&#x${code.toString(16)};`)],
    ["HTML hex upper", points((code) => `&#x${code.toString(16).toUpperCase()};`)],
    ["UTF-16LE", wide],
    ["UTF-16BE", Buffer.from(wide).swap16()],
    ["misread as latin1", Buffer.from(misread, "utf8")],
    ["misread, JSON", JSON.stringify(misread).slice(1, -1)],
    ["misread, JSON escapes", units(misread, (code) => `\\u${four(code)}`)],
    ["misread, URL", encodeURIComponent(misread)],
    ["Basic, no user", pair("").replace(/=+$/, "").slice(2)],
    ["Basic, short user", base64Core(raw, 2, "base64")],
  ];
  for (const encoding of ["base64", "base64url"] as const) {
    for (const shift of [0, 1, 2]) {
      const core = base64Core(raw, shift, encoding);
      forms.push([`${encoding} +${shift}`, core]);
      if (encoding === "base64") {
        forms.push([
          `base64 +${shift}, in a URL`,
          core.replaceAll("+", "%2B").replaceAll("/", "%2F"),
        ]);
        forms.push([`base64 +${shift}, in JSON`, core.replaceAll("/", "\\/")]);
      }
    }
  }
  forms.push(["base64, in a URL, lower", lower(encodeURIComponent(base64Core(raw, 0, "base64")))]);
  return forms.map(([form, bytes]) => ({ form, bytes: Buffer.from(bytes) }));
}

function char(code: number): string {
  return String.fromCharCode(code);
}

function safe(code: number): boolean {
  return code < 0x7f && !"&<>'+".includes(char(code));
}

/** What a base64 of a longer text holds of the secret, `shift` bytes after a group's beginning. */
function base64Core(raw: Buffer, shift: number, encoding: "base64" | "base64url"): string {
  const text = Buffer.concat([Buffer.alloc(shift), raw])
    .toString(encoding)
    .replaceAll("=", "");
  const start = shift === 0 ? 0 : shift + 1;
  const whole = Math.floor(((raw.length + shift) * 8) / 6);
  return text.slice(start, whole);
}
