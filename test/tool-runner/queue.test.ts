import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { CallQueue } from "../../src/tool-runner/queue.ts";
import { never } from "./support.ts";

suite("CallQueue", () => {
  test("runs up to its number, lets some wait in order, and refuses the rest", async () => {
    const queue = new CallQueue({ running: 1, waiting: 2 });
    const order: string[] = [];

    const first = await queue.enter(never);
    const second = queue.enter(never).then((place) => (order.push("second"), place));
    const third = queue.enter(never).then((place) => (order.push("third"), place));
    await assert.rejects(queue.enter(never), { code: "queue_full" });
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    (await second)[Symbol.dispose]();
    (await third)[Symbol.dispose]();

    assert.deepEqual(order, ["second", "third"]);
    (await queue.enter(never))[Symbol.dispose]();
  });

  test("forgets a caller that gave up", async () => {
    const queue = new CallQueue({ running: 1, waiting: 1 });
    const gone = new AbortController();

    const first = await queue.enter(never);
    const waiting = queue.enter(gone.signal);
    gone.abort(new Error("gone"));
    await assert.rejects(waiting, /gone/);
    const next = queue.enter(never);
    first[Symbol.dispose]();

    (await next)[Symbol.dispose]();
    await assert.rejects(queue.enter(gone.signal), /gone/);
  });
});
