import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { canonicalJson } from "../../src/kit/canonical-json.ts";
import {
  createSigningKey,
  isSignedBy,
  PUBLIC_KEY_PATTERN,
  readSigningKey,
} from "../../src/kit/signing.ts";

suite("signing", () => {
  test("a signature holds for its key, its context and its bytes, and for nothing else", () => {
    const key = createSigningKey();
    const bytes = Buffer.from("what was done");

    const signature = key.sign("audit/receipt", bytes);

    assert.match(key.publicKey, PUBLIC_KEY_PATTERN);
    assert.equal(isSignedBy(key.publicKey, "audit/receipt", bytes, signature), true);
    assert.equal(isSignedBy(key.publicKey, "audit/epoch", bytes, signature), false);
    assert.equal(
      isSignedBy(key.publicKey, "audit/receipt", Buffer.from("what was donf"), signature),
      false,
    );
    assert.equal(
      isSignedBy(createSigningKey().publicKey, "audit/receipt", bytes, signature),
      false,
    );
  });

  test("no other spelling of a signature passes", () => {
    const key = createSigningKey();
    const bytes = Buffer.from("x");
    const signature = key.sign("a", bytes);

    // The last character of 86 holds four bits that mean nothing.
    const last = signature.at(-1) ?? "";
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const other = signature.slice(0, -1) + (alphabet[alphabet.indexOf(last) ^ 1] ?? "");

    assert.deepEqual(Buffer.from(other, "base64url"), Buffer.from(signature, "base64url"));
    assert.equal(isSignedBy(key.publicKey, "a", bytes, other), false);
    assert.equal(isSignedBy(key.publicKey, "a", bytes, `${signature}=`), false);
    assert.equal(isSignedBy(key.publicKey, "a", bytes, ""), false);
    assert.equal(isSignedBy("ed25519:short", "a", bytes, signature), false);
  });

  test("a key comes back from its seed, and a broken seed is not quoted", () => {
    const key = createSigningKey();

    assert.equal(readSigningKey(key.seed()).publicKey, key.publicKey);
    assert.throws(
      () => readSigningKey("c2VjcmV0"),
      (error: Error) => error instanceof TypeError && !error.message.includes("c2VjcmV0"),
    );
  });

  test("agrees with a test vector of RFC 8032", () => {
    const seed = Buffer.from(
      "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
      "hex",
    );
    const key = readSigningKey(seed.toString("base64url"));

    assert.equal(
      Buffer.from(key.publicKey.slice("ed25519:".length), "base64url").toString("hex"),
      "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    );
  });

  test("the canonical text is one for every order of fields, and refuses what could be written twice", () => {
    assert.equal(
      canonicalJson({ b: [1, null, "é\n"], a: { d: true, c: undefined } }),
      '{"a":{"d":true},"b":[1,null,"é\\n"]}',
    );
    assert.throws(() => canonicalJson({ a: 0.5 }), TypeError);
    assert.throws(() => canonicalJson({ a: 2 ** 53 }), TypeError);
    assert.throws(() => canonicalJson({ a: () => 1 }), TypeError);
  });
});
