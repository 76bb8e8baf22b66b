import assert from "node:assert/strict";
import { suite, test } from "node:test";
import {
  MalformedMessage,
  parseRequestHead,
  parseResponseHead,
} from "../../../src/tool-runner/boundary/http-head.ts";

suite("the head of a message", () => {
  test("is read in a time that grows with its length, whatever blanks are in it", () => {
    const blanks = " ".repeat(4_000_000);
    const from = performance.now();

    for (const line of [`X:${blanks}\x01`, `X: a${blanks}\x01`, `X:${blanks}a${blanks}\x01`]) {
      assert.throws(() => parseRequestHead(`GET / HTTP/1.1\r\n${line}`), MalformedMessage);
      assert.throws(() => parseResponseHead(`HTTP/1.1 200 OK\r\n${line}`), MalformedMessage);
    }
    const { headers } = parseRequestHead(`GET / HTTP/1.1\r\nX: \t${blanks}a${blanks}b${blanks}`);

    assert.equal(headers["x"]?.length, blanks.length + 2);
    // The square of it would take days.
    assert.ok(performance.now() - from < 10_000);
  });

  test("loses blanks around a value and no byte of the value itself", () => {
    const value = Buffer.from("voil\u00e0").toString("latin1");

    const { headers, rawHeaders } = parseRequestHead(`GET / HTTP/1.1\r\nX: \t${value}\t \r\nY:`);

    assert.equal(headers["x"], value);
    assert.deepEqual(rawHeaders, ["X", value, "Y", ""]);
  });
});
