import assert from "node:assert/strict";
import { suite, test } from "node:test";
import * as fc from "fast-check";
import { compileRedaction, type RedactionTable, Redactor } from "../../src/kit/redactor.ts";
import { findSecret, formsOf } from "../helpers/secret-forms.ts";

/** Forms that do not read the secret as text, so that they are the same for bytes that are no text. */
const BYTE_FORMS = /^(?:plain|reversed|first|second|middle|hex|percent|base64|Basic)/;

/** A value that can be told from ordinary text wherever 12 bytes of it stand. */
function isDistinct(secret: Buffer): boolean {
  for (let start = 0; start + 12 <= secret.length; start++)
    if (new Set(secret.subarray(start, start + 12)).size < 3) return false;
  return secret.length >= 16 && secret.length <= 120 && !secret.includes("*");
}

const binary = fc.uint8Array({ minLength: 16, maxLength: 80 }).map((bytes) => Buffer.from(bytes));
const words = fc
  .string({ unit: "binary", minLength: 16, maxLength: 60 })
  .map((text) => Buffer.from(text));
const token = fc
  .string({
    unit: fc.constantFrom(...Array.from("abcXYZ019+/=-_.%&\"'\\<> ")),
    minLength: 16,
    maxLength: 60,
  })
  .map((text) => Buffer.from(text));
const secretOf = fc.oneof(binary, words, token).filter(isDistinct);

/** Texts beside which a form may stand: anything, and what looks like its beginning. */
function besides(secret: Buffer): fc.Arbitrary<Buffer> {
  return fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    fc.nat({ max: secret.length - 1 }).map((end) => secret.subarray(0, end)),
    fc.constantFrom("Bearer ", "data: ", '{"a":"', "=", "").map((text) => Buffer.from(text)),
  );
}

const cases = fc.array(secretOf, { minLength: 1, maxLength: 4 }).chain((secrets) =>
  fc.record({
    secrets: fc.constant(secrets),
    // Not each by itself: one text in which several stand, so that a match may begin inside another.
    stream: fc
      .array(
        fc.nat({ max: secrets.length - 1 }).chain((which) => {
          const secret = secrets[which] as Buffer;
          const isText = Buffer.from(secret.toString("utf8")).equals(secret);
          const forms = formsOf(secret).filter(({ form }) => isText || BYTE_FORMS.test(form));
          return fc.tuple(besides(secret), fc.constantFrom(...forms), besides(secret));
        }),
        { minLength: 1, maxLength: 4 },
      )
      .map((pieces) => ({
        planted: pieces.map(([, form]) => form),
        bytes: Buffer.concat(
          pieces.flatMap(([before, { bytes }, after]) => [before, bytes, after]),
        ),
      })),
    cuts: fc.array(fc.nat({ max: 4000 }), { maxLength: 12 }),
  }),
);

function redacted(table: RedactionTable, bytes: Buffer, cuts: number[]): Buffer {
  const redactor = new Redactor(table);
  const out: Buffer[] = [];
  let from = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    const to = Math.min(cut, bytes.length);
    out.push(redactor.push(bytes.subarray(from, to)));
    from = Math.max(from, to);
  }
  return Buffer.concat([...out, redactor.push(bytes.subarray(from)), redactor.end()]);
}

suite("the redactor, whatever the secrets, their form and the split", () => {
  test("lets none of 48 renderings through, keeps the length, and does not depend on the split", () => {
    fc.assert(
      fc.property(cases, ({ secrets, stream, cuts }) => {
        const table = compileRedaction(secrets);
        const { bytes, planted } = stream;

        const out = redacted(table, bytes, cuts);

        for (const { form, bytes: rendering } of planted) {
          // The control: what is looked for is found in what went in.
          assert.ok(bytes.includes(rendering));
          assert.ok(!out.includes(rendering), `${form} came through`);
        }
        assert.equal(out.length, bytes.length);
        assert.ok(out.equals(redacted(table, bytes, [])));
      }),
      { numRuns: 400 },
    );
  });

  test("changes nothing but what it masks", () => {
    fc.assert(
      fc.property(cases, ({ secrets, stream: { bytes }, cuts }) => {
        const out = redacted(compileRedaction(secrets), bytes, cuts);

        for (const [index, byte] of out.entries())
          assert.ok(byte === bytes[index] || byte === 0x2a, `byte ${index}`);
      }),
      { numRuns: 100 },
    );
  });

  test("is needed: without it every rendering is found", () => {
    fc.assert(
      fc.property(token.filter(isDistinct), (secret) => {
        for (const { form, bytes } of formsOf(secret))
          assert.ok(
            findSecret(bytes, secret).some(({ form: found }) => found === form),
            form,
          );
      }),
      { numRuns: 50 },
    );
  });
});
