import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { fuzz, regressionsOf, runOnce, targets } from "./rounds.ts";

/** Short, so that the whole is some twelve seconds; `npm run fuzz` takes its time. */
const MILLISECONDS = 900;

suite("whatever bytes a tool or an upstream sends", () => {
  for (const [name, target] of Object.entries(targets)) {
    test(`${name}: what broke it once does not break it again`, async () => {
      for (const { input } of regressionsOf(name)) await runOnce(target, input);
      await target.close?.();
    });

    test(`${name}: nothing breaks it in a short round`, async () => {
      const { inputs, broken } = await fuzz(name, {
        milliseconds: MILLISECONDS,
        seed: Date.now() % 2 ** 32,
      });

      assert.equal(broken?.error, undefined, broken?.file);
      assert.ok(inputs > 0);
    });
  }
});
