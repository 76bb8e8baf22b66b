// 10,000 calls in one process. Resident memory grows over the first 4,000 (259 to 313 MB measured) and then slowly (326 MB), so later
// rounds are compared with that one. It is no leak: the heap stays at 19 MB over 20,000 calls, and with the options that the programs
// of a run have (src/cli/node-options.ts: two heaps of malloc, small semi-spaces) resident memory stays between 177 and 199 MB.
import { suite, test } from "node:test";
import { assertNothingLeaked, manyCalls, type Round } from "../helpers/many-calls.ts";

const ROUNDS = 10;
const CALLS = 1000;
const WARM = 4;

suite("10,000 calls, 50 at a time, with crashes, timeouts and cancels", () => {
  test("end as they must, leave nothing, and need no more memory after the first 4,000", async (context) => {
    const { round } = await manyCalls(context);
    const rounds: Round[] = [];

    for (let number = 0; number < ROUNDS; number += 1) {
      const done = await round(CALLS);
      rounds.push(done);
      context.diagnostic(
        `${(number + 1) * CALLS} calls: ${JSON.stringify(done.held)}, ${Math.round(done.memory / 1e6)} MB`,
      );
    }

    for (const later of rounds.slice(WARM)) assertNothingLeaked(rounds[WARM - 1]!, later, 48e6);
  });
});
