import assert from "node:assert/strict";
import { isUtf8 } from "node:buffer";
import { suite, test } from "node:test";
import { MAX_ESCAPED, writeJsonText } from "../../src/protocol/json-bytes.ts";

suite("JSON text", () => {
  test("is what JSON.stringify makes of every character", () => {
    for (let code = 0; code <= 0x10ffff; code += code < 0x3000 ? 1 : 37) {
      if (code >= 0xd800 && code <= 0xdfff) continue;
      const text = `a${String.fromCodePoint(code)}z`;

      assert.equal(`"${written(Buffer.from(text)).text}"`, JSON.stringify(text));
    }
  });

  test("ends before the first byte that is no UTF-8, for every beginning of a character", () => {
    const seconds = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff];
    for (let first = 0x80; first <= 0xff; first += 1)
      for (const second of seconds)
        for (const third of seconds)
          for (const fourth of [0x7f, 0x80, 0xbf, 0xc0]) {
            const bytes = Buffer.from([first, second, third, fourth]);
            const { read } = written(bytes);

            assert.ok(isUtf8(bytes.subarray(0, read)), bytes.toString("hex"));
            for (let more = read + 1; more <= 4; more += 1)
              assert.ok(!isUtf8(bytes.subarray(0, more)) || more < read, bytes.toString("hex"));
          }
  });
});

function written(bytes: Buffer): { read: number; text: string } {
  const target = Buffer.alloc(MAX_ESCAPED * bytes.length);
  const end = writeJsonText(bytes, target, 0);
  return { read: end.read, text: target.toString("utf8", 0, end.written) };
}
