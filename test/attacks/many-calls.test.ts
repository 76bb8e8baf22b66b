// The short round of the soak (test/soak/calls.test.ts): calls at once, a third of which end badly.
import { suite, test } from "node:test";
import { assertNothingLeaked, manyCalls } from "../helpers/many-calls.ts";

suite("300 calls, 50 at a time, with crashes, timeouts and cancels", () => {
  test("end as they must, and leave no process, descriptor, mount or file", async (context) => {
    const { round } = await manyCalls(context);
    const first = await round(100);

    const last = await round(300);

    assertNothingLeaked(first, last, 128e6);
  });
});
