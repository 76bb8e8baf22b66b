import assert from "node:assert/strict";
import { test } from "node:test";
import { atEnd } from "./at-end.ts";

test("what a test started ends the latest first, and all of it, whatever fails", async () => {
  const ended: string[] = [];
  const ends: (() => Promise<void>)[] = [];
  const context = { after: (end: () => Promise<void>) => void ends.push(end) };
  atEnd(context, () => ended.push("directory"));
  atEnd(context, () => {
    ended.push("server");
    throw new Error("Server did not end");
  });
  atEnd(context, () => ended.push("client"));

  await assert.rejects(async () => {
    for (const end of ends) await end();
  }, /Server did not end/);

  assert.deepEqual(ended, ["client", "server", "directory"]);
});
