import { isUtf8 } from "node:buffer";
import { PlatformError } from "./platform-error.ts";

/** A shorter piece of a secret is not masked by itself: so few bytes occur in ordinary text. */
const WINDOW_BYTES = 12;
/** Beyond this a secret gets its common forms only, so that the table stays small. */
const ALL_FORMS_UP_TO = 4096;
/** Beyond this a secret is refused: it cannot be masked at a bounded cost. */
const MAX_SECRET_BYTES = 64 * 1024;
/** Shorter raw bytes or renderings would mask ordinary text everywhere. */
const MIN_RAW = 4;
const MIN_FORM = 6;
/** A window of fewer different bytes is not masked by itself. */
const MIN_DISTINCT = 3;
const PEM_FRAME = /-----(?:BEGIN|END) [A-Z0-9 ]+-----/g;

/**
 * The byte strings under which a secret may come back: raw, every window of it, and all usual renderings.
 * Throws `PlatformError` `secret_too_large` beyond 64 KiB, since a part of it would go unmasked.
 */
export function formsOfSecret(secret: Buffer, options: { windows: boolean }): Buffer[] {
  if (secret.length > MAX_SECRET_BYTES) {
    throw new PlatformError(
      "secret_too_large",
      `Expected a secret of at most ${MAX_SECRET_BYTES} bytes, got ${secret.length}`,
      { fix: "give the part of it that is secret" },
    );
  }
  const all = secret.length <= ALL_FORMS_UP_TO;
  const forms = renderings(secret, all);
  const misread = misreadOf(secret);
  if (misread !== null) forms.push(misread, ...renderings(misread, all));
  const bytes = forms.map((form) => (typeof form === "string" ? Buffer.from(form) : form));
  const kept = bytes.filter((form) => form.length >= MIN_FORM);
  if (secret.length >= MIN_RAW) kept.push(secret);
  if (options.windows && all) kept.push(...windowsOf(secret));
  return kept;
}

function renderings(secret: Buffer, all: boolean): (Buffer | string)[] {
  const forms: (Buffer | string)[] = [
    secret.toString("hex"),
    secret.toString("hex").toUpperCase(),
    ...base64Forms(secret),
    ...percentForms(secret, all),
    ...jsonForms(secret, all),
  ];
  if (all) {
    forms.push(...htmlForms(secret), ...wideForms(secret), Buffer.from(secret).reverse());
  }
  return forms;
}

/** The secret as a server writes it that reads header fields as latin1, as Node does, and answers in UTF-8; null when the same. */
function misreadOf(secret: Buffer): Buffer | null {
  const isAscii = secret.every((byte) => byte < 0x80);
  return isAscii || !isUtf8(secret) ? null : Buffer.from(secret.toString("latin1"), "utf8");
}

/** Every run of 12 bytes: whatever longer part of the secret comes back is covered by overlapping windows. */
function windowsOf(secret: Buffer): Buffer[] {
  // The frame of a PEM file is no secret; masking it would destroy every certificate that passes.
  const frames = [...secret.toString("latin1").matchAll(PEM_FRAME)].map(({ index, 0: frame }) => ({
    from: index,
    to: index + frame.length,
  }));
  const windows: Buffer[] = [];
  for (let start = 0; start + WINDOW_BYTES <= secret.length; start++) {
    const end = start + WINDOW_BYTES;
    const isFrame = frames.some(({ from, to }) => start < to && end > from);
    const window = secret.subarray(start, end);
    // Blanks, or a ruler of one character, are in ordinary text too.
    if (!isFrame && new Set(window).size >= MIN_DISTINCT) windows.push(window);
  }
  return windows;
}

/** The characters that do not depend on what stands before and after, at the three alignments and in both alphabets. */
function base64Forms(secret: Buffer): string[] {
  return [0, 1, 2].flatMap((offset) => {
    const encoded = Buffer.concat([Buffer.alloc(offset), secret]).toString("base64");
    const from = [0, 2, 3][offset];
    const bits = (offset + secret.length) % 3;
    const to = encoded.replace(/=+$/, "").length - (bits === 0 ? 0 : 1);
    const std = encoded.slice(from, to);
    return [
      std,
      std.replaceAll("+", "-").replaceAll("/", "_"),
      std.replaceAll("/", "\\/"),
      std.replaceAll("+", "%2B").replaceAll("/", "%2F"),
      std.replaceAll("+", "%2b").replaceAll("/", "%2f"),
    ];
  });
}

function percentForms(secret: Buffer, all: boolean): string[] {
  const escape = (keep: RegExp, hex: (byte: string) => string) =>
    [...secret]
      .map((byte) => {
        const char = String.fromCharCode(byte);
        return keep.test(char) ? char : `%${hex(byte.toString(16).padStart(2, "0"))}`;
      })
      .join("");
  const lower = (text: string) => text;
  const upper = (text: string) => text.toUpperCase();
  // What encodeURIComponent keeps, what RFC 3986 calls unreserved, and what a path segment may hold.
  const keeps = [/[A-Za-z0-9\-_.!~*'()]/, /[A-Za-z0-9\-_.~]/, /[A-Za-z0-9\-_.~!$&'()*+,;=:@]/];
  const minimal = keeps.flatMap((keep) => [escape(keep, lower), escape(keep, upper)]);
  const form = minimal.map((text) => text.replaceAll("%20", "+"));
  return all ? [...minimal, ...form, escape(/^$/, lower), escape(/^$/, upper)] : minimal;
}

function jsonForms(secret: Buffer, all: boolean): string[] {
  const text = textOf(secret);
  const plain = JSON.stringify(text).slice(1, -1);
  const slashed = plain.replaceAll("/", "\\/");
  const unit = (char: string, upper: boolean) => {
    const hex = char.charCodeAt(0).toString(16).padStart(4, "0");
    return `\\u${upper ? hex.toUpperCase() : hex}`;
  };
  const escaped = (from: string, which: RegExp) =>
    [false, true].map((upper) => from.replaceAll(which, (char) => unit(char, upper)));
  const some = [plain, slashed];
  if (!all) return some;
  return [
    ...some,
    // Python and PHP write non-ASCII as \u; Go also & < >; a hostile server writes everything so.
    ...some.flatMap((form) => escaped(form, /[^\x20-\x7e]/g)),
    ...some.flatMap((form) => escaped(form, /[&<>]|[^\x20-\x7e]/g)),
    ...some.flatMap((form) => escaped(form, /[&<>'+]|[^\x20-\x7e]/g)),
    ...escaped(text, /[^]/g),
  ];
}

function htmlForms(secret: Buffer): string[] {
  const text = textOf(secret);
  const named = (quote: string, apostrophe: string) =>
    text
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', quote)
      .replaceAll("'", apostrophe);
  const numeric = (render: (code: number) => string) =>
    Array.from(text, (char) => `&#${render(char.codePointAt(0) ?? 0)};`).join("");
  return [
    named("&quot;", "&#39;"),
    named("&quot;", "&#x27;"),
    named("&#34;", "&#39;"),
    named("&quot;", "&apos;"),
    named('"', "'"),
    numeric((code) => String(code)),
    numeric((code) => `x${code.toString(16)}`),
    numeric((code) => `x${code.toString(16).toUpperCase()}`),
  ];
}

function wideForms(secret: Buffer): Buffer[] {
  const little = Buffer.from(textOf(secret), "utf16le");
  return [little, Buffer.from(little).swap16()];
}

function textOf(secret: Buffer): string {
  return secret.toString(isUtf8(secret) ? "utf8" : "latin1");
}
