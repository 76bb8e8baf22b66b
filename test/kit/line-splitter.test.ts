import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { isTooDeep } from "../../src/kit/json-nesting.ts";
import { LineSplitter } from "../../src/kit/line-splitter.ts";

function linesOf(splitter: LineSplitter, pieces: readonly string[]): (string | null)[] {
  const lines: (string | null)[] = [];
  for (const piece of pieces)
    splitter.push(Buffer.from(piece), (line) => lines.push(line?.toString() ?? null));
  return lines;
}

suite("lines of a stream", () => {
  test("are the same in whatever pieces they come", () => {
    const text = "one\n\ntwo three\nfour";
    for (const pieces of [[text], text.split(""), ["one\n\ntw", "o thr", "ee\nfour"]]) {
      const splitter = new LineSplitter(9);
      assert.deepEqual(linesOf(splitter, pieces), ["one", "", "two three"]);
      assert.equal(splitter.heldBytes, 4);
    }
  });

  test("that are too long are told as none, and nothing of them is kept", () => {
    const splitter = new LineSplitter(4);
    assert.deepEqual(linesOf(splitter, ["12", "345"]), []);
    assert.deepEqual([splitter.isOverlong, splitter.heldBytes], [true, 0]);
    assert.deepEqual(linesOf(splitter, ["6\n1234\n12345\n"]), [null, "1234", null]);
    assert.equal(splitter.isOverlong, false);
  });

  test("cost their length, not a buffer for each of their bytes", () => {
    const splitter = new LineSplitter(1024 * 1024);
    const before = process.memoryUsage().arrayBuffers;
    for (let byte = 0; byte < 200_000; byte++)
      splitter.push(Buffer.from(Buffer.alloc(4096, "x").buffer, 0, 1), () => undefined);
    const chunks = process.memoryUsage().arrayBuffers - before;
    assert.equal(splitter.heldBytes, 200_000);
    assert.ok(chunks < 400 * 1024 * 1024, `${chunks} bytes`);
  });
});

suite("the nesting of a JSON text", () => {
  test("counts levels that are open at once, and no bracket of a text", () => {
    const nested = (levels: number) => Buffer.from("[".repeat(levels) + "]".repeat(levels));
    assert.equal(isTooDeep(nested(64)), false);
    assert.equal(isTooDeep(nested(65)), true);
    assert.equal(isTooDeep(Buffer.from('{"a":['.repeat(33))), true);
    assert.equal(isTooDeep(Buffer.from(`[${"[{}],".repeat(200)}1]`)), false);
    assert.equal(isTooDeep(Buffer.from(`["\\"${"[".repeat(200)}\\\\","]"]`)), false);
    assert.equal(isTooDeep(Buffer.from(`["\\\\",${"[".repeat(70)}`)), true);
  });
});
