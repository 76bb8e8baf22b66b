import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { MetricList } from "../../src/protocol/metrics.ts";
import { seedRun, startManager } from "../manager/seed.ts";
import { lastDocument, PreparedData } from "./prepared-data.ts";

suite("agentkube metrics", () => {
  test("shows what the manager of the data directory counts, as text and as JSON", async (t) => {
    const { manager, dataDir } = await startManager(t);
    await seedRun(manager, dataDir);
    using data = new PreparedData();

    const text = await data.run("metrics", "--data", dataDir);
    const json = await data.run("metrics", "--data", dataDir, "--json");

    assert.equal(text.code, 0, text.stderr);
    assert.match(
      text.stdout,
      /^# TYPE agentkube_runs gauge\nagentkube_runs\{phase="starting"\} 1$/m,
    );
    const { metrics } = MetricList.parse(lastDocument(json));
    assert.ok(metrics.some(({ name }) => name === "agentkube_sandbox_pool_waiting"));
  });

  test("says when no manager runs, and what to do", async () => {
    using data = new PreparedData();

    const { code, stderr } = await data.run("metrics");

    assert.equal(code, 1);
    assert.match(stderr, /No manager runs for .*\n.*fix: +start one with agentkube run/);
  });
});
