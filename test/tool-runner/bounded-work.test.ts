import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { runBounded } from "../../src/tool-runner/bounded-work.ts";

/** Holds the thread without using its CPU, as a machine does that is busy with others. */
function starve(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

suite("bounded work", () => {
  test("that takes too much CPU is stopped", () => {
    assert.throws(() => runBounded(() => /^(a+)+$/.test(`${"a".repeat(60)}b`), 50), {
      message: "took longer than 50 ms",
    });
  });

  test("that only waited for a CPU is done in the end", () => {
    let tries = 0;

    const done = runBounded(() => {
      tries += 1;
      if (tries < 3) starve(2000);
      return "done";
    }, 40);

    assert.equal(done, "done");
    assert.equal(tries, 3);
  });

  test("that never gets one is stopped", () => {
    assert.throws(() => runBounded(() => starve(60_000), 20), /took longer/);
  });

  test("throws what the work throws", () => {
    assert.throws(
      () =>
        runBounded(() => {
          throw new TypeError("not so");
        }, 1000),
      new TypeError("not so"),
    );
  });
});
