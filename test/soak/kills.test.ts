// 1,000 kills in all: 67 runs that go to their end and 67 whose agentlet is killed. KILL_ROUNDS says how many of each instead.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { killedRun } from "../helpers/killed-run.ts";
import type { KillPlan } from "../helpers/killed-run.ts";

const ROUNDS = Number(process.env["KILL_ROUNDS"] ?? 67);
const AT_ONCE = 2;
const PLANS: KillPlan[] = [
  { recorder: 5, manager: 4, agentlet: false },
  { recorder: 3, manager: 2, agentlet: true },
];

suite("1,000 times kill -9 of recorder, manager and agentlet", () => {
  test("each run ends with exactly the bytes that were printed, or all that were acknowledged", async (t) => {
    const plans = Array.from({ length: ROUNDS }, () => PLANS).flat();
    const failures: string[] = [];
    let runs = 0;
    let kills = 0;
    const work = async (): Promise<void> => {
      for (let plan = plans.shift(); plan !== undefined; plan = plans.shift()) {
        try {
          const done = await killedRun(plan);
          kills += done;
        } catch (error) {
          failures.push(`${JSON.stringify(plan)}: ${String(error)}`);
          console.error(failures.at(-1));
        }
        runs += 1;
        // On standard error, which the runner passes on at once; a diagnostic comes when the test is over.
        if (runs % 5 === 0) console.error(`${runs} runs, ${kills} kills, ${failures.length} bad`);
      }
    };

    await Promise.all(Array.from({ length: AT_ONCE }, work));

    t.diagnostic(`${runs} runs, ${kills} kills, ${failures.length} of them not as they must be`);
    assert.deepEqual(failures, []);
  });
});
