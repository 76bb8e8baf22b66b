import { suite, test } from "node:test";
import { killedRun } from "../helpers/killed-run.ts";

suite("kill -9 at random moments", { concurrency: 2 }, () => {
  test("of the recorder five times and the manager twice: nothing is lost", async () => {
    await killedRun({ recorder: 5, manager: 2, agentlet: false });
  });

  test("of recorder, manager and in the end the agentlet: all that was acknowledged is there, and the end is marked", async () => {
    await killedRun({ recorder: 2, manager: 1, agentlet: true });
  });
});
