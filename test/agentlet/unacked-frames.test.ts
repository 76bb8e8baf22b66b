import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { UnackedFrames } from "../../src/agentlet/unacked-frames.ts";
import type { Frame } from "../../src/protocol/frames.ts";
import { encodeFrame, MAX_FRAME_BYTES } from "../../src/protocol/frames.ts";

suite("UnackedFrames", () => {
  test("keeps the bytes of every frame until it is acknowledged, whatever was acknowledged before", () => {
    const frames = new UnackedFrames();
    const sizes = [1, 64 * 1024, 300_000, 7, MAX_FRAME_BYTES - 100, 0, 64 * 1024, 900_000];
    let forgotten = 0;

    for (let seq = 1; seq <= 400; seq += 1) {
      frames.push(output(seq, sizes[seq % sizes.length] ?? 0));
      // Now and then all of them, most of the time all but the last few.
      const upTo = seq % 50 === 0 ? seq : seq - (seq % 9);
      assert.equal(frames.forget(upTo), Math.max(0, upTo - forgotten));
      forgotten = Math.max(forgotten, upTo);

      const expected = Array.from({ length: seq - forgotten }, (_, index) => {
        const of = forgotten + 1 + index;
        return encodeFrame(output(of, sizes[of % sizes.length] ?? 0));
      });
      assert.equal(frames.size, expected.length);
      assert.equal(frames.bytes, Buffer.concat(expected).length);
      for (const [index, data] of [...frames].entries())
        assert.ok(data.equals(expected[index] ?? Buffer.alloc(0)), `frame ${seq} of ${index}`);
    }
  });
});

function output(seq: number, bytes: number): Frame {
  return { type: "output", seq, timeUs: seq, offset: 0, bytes: Buffer.alloc(bytes, seq) };
}
