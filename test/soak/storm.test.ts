import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { storm } from "../helpers/storm.ts";

suite("1,000 recorders that come back all at once", () => {
  test("with 256 KiB each, and again with as much at a manager that was killed: nothing is lost, live sessions go on", async (t) => {
    const report = await storm({ sessions: 1000, live: 20, processes: 4, pieces: 16 });

    t.diagnostic(JSON.stringify(report));
    assert.ok(report.deferred > 0, "nobody was told to come back later");
    assert.ok(report.stormP99Ms < 5000, `live sessions waited ${report.stormP99Ms} ms`);
    assert.ok(report.managerMiB < 600, `the manager took ${report.managerMiB} MiB`);
  });
});
