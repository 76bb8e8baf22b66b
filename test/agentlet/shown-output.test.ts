import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ShownOutput } from "../../src/agentlet/shown-output.ts";
import { compileRedactionSet } from "../../src/kit/redaction-set.ts";
import { TerminalRedactor } from "../../src/kit/terminal-redactor.ts";

const SECRET = "correct-horse-battery-staple";
const KIB = 1024;
const set = compileRedactionSet([Buffer.from(SECRET)]);
const options = { redaction: set, cols: 80, showBelow: 0, mayWait: () => true };

suite("ShownOutput", () => {
  test("shows what a redactor that never rests would, at the same offsets, whatever waited and was passed over", () => {
    for (let seed = 1; seed <= 5; seed += 1) {
      const random = randomFrom(seed);
      let mayWait = false;
      const shown = new ShownOutput({ ...options, mayWait: () => mayWait });
      const steady = new TerminalRedactor(set, { cols: 80 });
      const expected: Buffer[] = [];
      let bytes = 0;
      for (let step = 0; step < 80; step += 1) {
        mayWait = random(4) > 0;
        const piece = busyOutput(random, 1 + random(64 * KIB));
        bytes += piece.length;
        shown.push(piece);
        expected.push(Buffer.from(steady.push(piece)));
        if (random(12) === 0) shown.showAll();
        if (random(12) === 0) shown.showTail(64 * KIB);
      }
      expected.push(steady.end());
      shown.end();

      const { ring } = shown;
      const whole = Buffer.concat(expected);
      assert.equal(shown.waitingBytes, 0);
      assert.equal(ring.end, bytes);
      assert.ok(ring.end - ring.start >= 64 * KIB);
      const here = ring.slice(ring.start, Infinity);
      assert.ok(here.equals(whole.subarray(ring.start)), `seed ${seed}`);
      assert.ok(!here.includes(SECRET) && here.includes("****"));
    }
  });

  test("a flood that waits is masked only as far as it is shown, and a secret across the cut is masked", () => {
    for (let before = 0; before <= SECRET.length; before += 1) {
      const shown = new ShownOutput(options);
      for (let at = 0; at < 40; at += 1) shown.push(Buffer.alloc(64 * KIB, "flood "));
      const tail = Buffer.alloc(64 * KIB, "wild ");
      const rest = Buffer.from(`${SECRET.slice(before)} ${tail.toString()}`).subarray(0, 64 * KIB);
      shown.push(Buffer.from(SECRET.slice(0, before)));
      shown.push(rest);

      shown.showTail(64 * KIB);

      const { ring } = shown;
      const here = ring.slice(ring.start, Infinity).toString();
      assert.equal(ring.end - ring.start, 64 * KIB);
      const left = SECRET.length - before;
      assert.equal(here.slice(0, left), "*".repeat(left));
      assert.equal(here.slice(left, left + 10), " wild wild");
    }
  });

  test("another set counts for what waits", () => {
    const shown = new ShownOutput({ ...options, redaction: compileRedactionSet([]) });
    shown.push(Buffer.from(`it is ${SECRET}, and more`));

    shown.use(set);
    shown.end();

    const { ring } = shown;
    assert.equal(
      ring.slice(0, Infinity).toString(),
      `it is ${"*".repeat(SECRET.length)}, and more`,
    );
  });
});

/** Text with the secret in it now and then, also in colours and across lines. */
function busyOutput(random: (below: number) => number, bytes: number): Buffer {
  const parts: string[] = [];
  for (let size = 0; size < bytes;) {
    const kinds = [
      "a line of a build that goes on, and ends in z\r\n",
      SECRET,
      `${SECRET.slice(0, 9)}\u001b[31m${SECRET.slice(9)}\u001b[0m `,
      SECRET.slice(0, random(SECRET.length)),
      `\u001b]2;${SECRET}\u0007`,
      "日本語 ",
    ];
    const part = kinds[random(8)] ?? kinds[0] ?? "";
    parts.push(part);
    size += part.length;
  }
  return Buffer.from(parts.join("")).subarray(0, bytes);
}

function randomFrom(seed: number): (below: number) => number {
  let state = seed * 7919;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % below;
  };
}
