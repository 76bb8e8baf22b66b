import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { suite, test } from "node:test";
import { compileRedaction, redactAll, Redactor } from "../../src/kit/redactor.ts";
import { PlatformError } from "../../src/kit/platform-error.ts";

const SECRET = "ghp_Aq7/Zx+91&kLmN\"o<p>Q'rS tUv%wX";
const text = (bytes: Buffer) => bytes.toString("latin1");

/** How a hostile or merely ordinary server may write the secret down. Written apart from the code under test. */
const renderings: Record<string, Buffer> = {
  raw: Buffer.from(SECRET),
  "base64 at 0": Buffer.from(Buffer.from(SECRET).toString("base64")),
  "base64 at 1": Buffer.from(Buffer.from(`x${SECRET}yy`).toString("base64")),
  "base64 at 2": Buffer.from(Buffer.from(`xy${SECRET}z`).toString("base64")),
  base64url: Buffer.from(Buffer.from(`user:${SECRET}`).toString("base64url")),
  hex: Buffer.from(Buffer.from(SECRET).toString("hex")),
  HEX: Buffer.from(Buffer.from(SECRET).toString("hex").toUpperCase()),
  percent: Buffer.from(encodeURIComponent(SECRET)),
  "percent in lower case": Buffer.from(
    encodeURIComponent(SECRET).replace(/%../g, (part) => part.toLowerCase()),
  ),
  "percent of every byte": Buffer.from(
    [...Buffer.from(SECRET)].map((byte) => `%${byte.toString(16)}`).join(""),
  ),
  form: Buffer.from(encodeURIComponent(SECRET).replaceAll("%20", "+")),
  json: Buffer.from(JSON.stringify(SECRET)),
  "json with escaped slashes": Buffer.from(JSON.stringify(SECRET).replaceAll("/", "\\/")),
  "json as Go writes it": Buffer.from(
    JSON.stringify(SECRET)
      .replaceAll("<", "\\u003c")
      .replaceAll(">", "\\u003e")
      .replaceAll("&", "\\u0026"),
  ),
  "json of units": Buffer.from(
    Array.from(SECRET, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`).join(""),
  ),
  html: Buffer.from(
    SECRET.replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', "&quot;")
      .replaceAll("'", "&#39;"),
  ),
  "html numbers": Buffer.from(Array.from(SECRET, (c) => `&#${c.charCodeAt(0)};`).join("")),
  "utf-16le": Buffer.from(SECRET, "utf16le"),
  "utf-16be": Buffer.from(SECRET, "utf16le").swap16(),
  reversed: Buffer.from(SECRET).reverse(),
};

const secrets = [Buffer.from(SECRET)];
const table = compileRedaction(secrets);

function pushed(chunks: Buffer[]): { data: Buffer; masked: number } {
  const redactor = new Redactor(table);
  const data = Buffer.concat([...chunks.map((chunk) => redactor.push(chunk)), redactor.end()]);
  return { data, masked: redactor.masked };
}

suite("Redactor", () => {
  test("masks every rendering at every split, keeps lengths, and gives the same whatever the split", () => {
    for (const [name, rendering] of Object.entries(renderings)) {
      const whole = Buffer.concat([Buffer.from("before "), rendering, Buffer.from(" after")]);
      const expected = redactAll(table, whole);

      assert.equal(expected.length, whole.length, name);
      const stars = text(expected).replaceAll(/[^*]/g, "").length;
      // Base64 characters that also hold bits of a neighbour are not the secret's.
      const shared = name.startsWith("base64") ? 10 : 2;
      assert.ok(stars >= rendering.length - shared, `${name}: ${text(expected)}`);
      for (let split = 0; split <= whole.length; split++) {
        const { data, masked } = pushed([whole.subarray(0, split), whole.subarray(split)]);
        assert.equal(text(data), text(expected), `${name} split at ${split}`);
        assert.ok(masked >= 1);
      }
      const bytewise = pushed([...whole].map((byte) => Buffer.from([byte])));
      assert.equal(text(bytewise.data), text(expected), `${name} byte by byte`);
    }
  });

  test("masks any part of at least 12 bytes and leaves shorter ones", () => {
    for (let from = 0; from < SECRET.length; from++) {
      for (let to = from + 1; to <= SECRET.length; to++) {
        const part = SECRET.slice(from, to);
        const got = text(redactAll(table, Buffer.from(`[${part}]`)));
        const spaceless = part.split(" ").some((piece) => piece.length >= 12);
        if (part.length < 12) assert.equal(got, `[${part}]`);
        else if (spaceless) assert.ok(got.includes("************"), part);
      }
    }
  });

  test("agrees with a plain search over random data, secrets and splits", () => {
    for (let round = 0; round < 300; round++) {
      // Few symbols, so that patterns overlap, nest and repeat.
      const few = (length: number) =>
        Buffer.from(Array.from(randomBytes(length), (byte) => 97 + (byte % 2)));
      const needles = [few(5), few(7), few(9)];
      const hay = few(200);
      const expected = Buffer.from(hay);
      for (const needle of needles.flatMap((each) => [each, Buffer.from(each).reverse()])) {
        for (let at = hay.indexOf(needle); at !== -1; at = hay.indexOf(needle, at + 1)) {
          expected.fill("*", at, at + needle.length);
        }
      }
      const redactor = new Redactor(needles);
      const out: Buffer[] = [];
      for (let at = 0; at < hay.length;) {
        const size = 1 + ((randomBytes(1)[0] as number) % 9);
        out.push(redactor.push(hay.subarray(at, at + size)));
        at += size;
      }
      out.push(redactor.end());

      // Reversed forms of fewer than 6 bytes are not looked for.
      const short = Buffer.from(needles[0] as Buffer).reverse();
      const got = Buffer.concat(out);
      if (!text(hay).includes(text(short)) || (needles[0] as Buffer).equals(short)) {
        assert.equal(text(got), text(expected));
      }
      assert.equal(got.length, hay.length);
      for (const needle of needles) assert.equal(got.indexOf(needle), -1);
    }
  });

  test("holds a byte between two masks that a longer secret still covers", () => {
    const hay = Buffer.from("babbaaaabaabaaababbbbbbabaaaaaaabbabbbbbabbabbabbaaabaababba");
    const needles = ["bbabb", "bbbabaa", "bbbbabbab"].map((needle) => Buffer.from(needle));
    const whole = text(redactAll(needles, hay));

    for (let first = 1; first < hay.length; first++) {
      for (let second = first + 1; second < hay.length; second++) {
        const redactor = new Redactor(needles);
        const pieces = [hay.subarray(0, first), hay.subarray(first, second), hay.subarray(second)];
        const out = pieces.map((piece) => redactor.push(piece));
        assert.equal(text(Buffer.concat([...out, redactor.end()])), whole, `${first}, ${second}`);
      }
    }
  });

  test("never gives out a byte of a secret before it is decided", () => {
    const redactor = new Redactor([Buffer.from("abcdefghij"), Buffer.from("defg")]);

    const first = text(redactor.push(Buffer.from("--abcdefg")));
    const second = text(redactor.push(Buffer.from("hij--")));

    assert.equal(first, "--");
    assert.equal(second + text(redactor.end()), "**********--");
  });

  test("holds nothing back of an event that ends in a newline", () => {
    const redactor = new Redactor(table);
    const event = Buffer.from('event: delta\ndata: {"text":"Agh"}\n\n');

    assert.equal(text(redactor.push(event)), text(event));
  });

  test("masks the rendered forms it is given, and leaves the frame of PEM files alone", () => {
    const rendered = Buffer.from("dXNlcjpzM2NyM3Q=");
    const basic = compileRedaction([Buffer.from("s3cr3t")], { extraForms: [rendered] });
    const pem = compileRedaction([
      Buffer.from("-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEG\n"),
    ]);

    assert.equal(
      text(redactAll(basic, Buffer.from(`Basic ${text(rendered)}`))),
      `Basic ${"*".repeat(16)}`,
    );
    assert.equal(
      text(redactAll(pem, Buffer.from("-----BEGIN PUBLIC KEY-----"))),
      "-----BEGIN PUBLIC KEY-----",
    );
    assert.ok(text(redactAll(pem, Buffer.from("MIGHAgEAMBMGByqGSM49AgEG"))).startsWith("*****"));
  });

  test("masks parts with blanks in them, and what a server makes of UTF-8 that it reads as latin1", () => {
    const phrase = compileRedaction([Buffer.from("correct horse battery staple")]);
    const umlauts = Buffer.from("Schlüssel-0123456789");
    const misread = Buffer.from(umlauts.toString("latin1"), "utf8");

    assert.equal(text(redactAll(phrase, Buffer.from("[horse battery]"))), `[${"*".repeat(13)}]`);
    assert.match(text(redactAll([umlauts], misread)), /^\*+$/);
  });

  test("refuses a secret it cannot mask at a bounded cost", () => {
    assert.throws(
      () => new Redactor([Buffer.alloc(65 * 1024, 97)]),
      (error: unknown) => error instanceof PlatformError && error.code === "secret_too_large",
    );
  });

  test("passes everything when there is no secret", () => {
    const bytes = randomBytes(1000);

    assert.deepEqual(redactAll([], bytes), bytes);
  });
});
