import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { suite, test } from "node:test";
import {
  BadFrameError,
  FrameReader,
  MAX_FRAME_BYTES,
  encodeFrame,
} from "../../src/protocol/frames.ts";
import type { Frame } from "../../src/protocol/frames.ts";

const frames: Frame[] = [
  { type: "output", seq: 1, timeUs: 10, offset: 0, bytes: Buffer.from("abc\u001b[0mé") },
  { type: "resize", seq: 2, timeUs: 11, cols: 100, rows: 30 },
  { type: "input", seq: 3, timeUs: 12, offset: 0, bytes: Buffer.from([0xff, 0]) },
  { type: "marker", seq: 4, timeUs: 13, label: "tool é" },
  {
    type: "output",
    seq: 5,
    timeUs: 366 * 24 * 3600 * 1_000_000,
    offset: 2 ** 40,
    bytes: Buffer.alloc(0),
  },
  { type: "exit", seq: 6, timeUs: 14, status: 137 },
];

suite("frames", () => {
  test("come out as they went in, whatever the split", () => {
    const bytes = Buffer.concat(frames.map((frame) => encodeFrame(frame)));

    for (let at = 0; at <= bytes.length; at += 1) {
      const reader = new FrameReader();
      const read = [...reader.push(bytes.subarray(0, at)), ...reader.push(bytes.subarray(at))];

      assert.deepEqual(read, frames, `split at ${at}`);
    }
  });

  test("of a length that no frame has are refused", () => {
    for (const length of [0, 16, MAX_FRAME_BYTES + 1, 0xffffffff]) {
      const head = Buffer.alloc(4);
      head.writeUInt32LE(length);

      assert.throws(() => [...new FrameReader().push(head)], BadFrameError);
    }
  });

  test("that are garbage are refused, and nothing else is thrown", () => {
    for (let round = 0; round < 2000; round += 1) {
      const good = encodeFrame(frames[round % frames.length] as Frame);
      const bytes = round % 2 === 0 ? randomBytes(64) : Buffer.from(good);
      if (round % 2 === 1) bytes[4 + (round % (bytes.length - 4))] = round & 0xff;
      try {
        for (const frame of new FrameReader().push(bytes)) assert.ok(frame.seq >= 0);
      } catch (error) {
        assert.ok(error instanceof BadFrameError, String(error));
      }
    }
  });
});
