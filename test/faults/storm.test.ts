import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { storm } from "../helpers/storm.ts";

suite("recorders that come back all at once", () => {
  test("150 with a backlog, twice, the second time at a manager that was killed: nothing is lost, some wait their turn", async (t) => {
    const report = await storm({ sessions: 150, live: 5, processes: 2, pieces: 16 });

    t.diagnostic(JSON.stringify(report));
    assert.ok(report.deferred > 0, "nobody was told to come back later");
    assert.ok(report.managerMiB < 400, `the manager took ${report.managerMiB} MiB`);
  });
});
