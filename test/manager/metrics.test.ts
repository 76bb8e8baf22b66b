import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { MetricList, type RunnerReport } from "../../src/protocol/metrics.ts";
import { api, Peer, seedRun, startManager, SUCCEEDED, type SeedRun } from "./seed.ts";
import type { Manager } from "../../src/manager/manager.ts";

const report = (warm: number, waiting: number): RunnerReport => ({
  pool: {
    size: 2,
    waiting,
    waitingBytes: waiting * 1000,
    warm,
    cold: 1,
    prepared: 9,
    discarded: 0,
  },
  calls: { running: 1, waiting: 0, outcomes: { completed: warm, refused: 1 }, durationMs: 1500 },
});

async function runner(manager: Manager, { run, tokens }: SeedRun, epoch = 0): Promise<Peer> {
  const peer = new Peer(manager, `/v1/runs/${run}/audit`, tokens.runner);
  await peer.send({ kind: "hello", protocol: 1, epoch });
  await peer.until((message) => message["kind"] === "ack");
  return peer;
}

/** Sends a report and waits until it was taken: a second hello ends the link after it. */
async function tell(peer: Peer, told: RunnerReport): Promise<void> {
  await peer.send({ kind: "report", report: told });
  await peer.send({ kind: "hello", protocol: 1, epoch: 0 });
  await peer.closed;
}

async function value(manager: Manager, line: string): Promise<number | null> {
  const text = await (await api(manager, "/metrics")).text();
  const found = text.split("\n").find((each) => each.startsWith(`${line} `));
  return found === undefined ? null : Number(found.slice(line.length + 1));
}

suite("metrics", () => {
  test("add up what the tool-runners of all runs told; counters outlive runs and restarts", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const [first, second] = [await seedRun(manager, dataDir), await seedRun(manager, dataDir)];
    await tell(await runner(manager, first), report(3, 2));
    await tell(await runner(manager, second), report(4, 1));

    const warm = 'agentkube_sandbox_pool_taken_total{kind="warm"}';
    assert.equal(await value(manager, warm), 7);
    assert.equal(await value(manager, "agentkube_sandbox_pool_waiting"), 3);
    assert.equal(await value(manager, "agentkube_sandbox_pool_waiting_bytes"), 3000);
    assert.equal(await value(manager, 'agentkube_tool_calls{state="running"}'), 2);
    assert.equal(await value(manager, 'agentkube_tool_calls_ended_total{outcome="completed"}'), 7);
    assert.equal(await value(manager, "agentkube_tool_calls_seconds_total"), 3);

    // Another life of the first tool-runner counts from zero; the second run ends.
    await tell(await runner(manager, first, 1), report(1, 0));
    await api(manager, `/v1/runs/${second.run}/end`, {
      method: "POST",
      body: JSON.stringify({ end: SUCCEEDED, recording: null }),
    });

    assert.equal(await value(manager, warm), 8);
    assert.equal(await value(manager, "agentkube_sandbox_pool_waiting"), 0);
    assert.equal(await value(manager, 'agentkube_tool_calls{state="running"}'), 1);
    assert.equal(await value(manager, 'agentkube_tool_calls_ended_total{outcome="refused"}'), 3);
    assert.equal(await value(manager, 'agentkube_runs{phase="ended"}'), 1);
    assert.equal(await value(manager, 'agentkube_runs_ended{outcome="succeeded"}'), 1);
  });

  test("are for the operator alone, name no run, and are the same as JSON", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const { run } = await seedRun(manager, dataDir);
    const anonymous = await fetch(`${manager.url}/metrics`);
    await anonymous.arrayBuffer();
    const answer = await api(manager, "/metrics");
    const text = await answer.text();
    const { metrics } = MetricList.parse(await (await api(manager, "/v1/metrics")).json());

    assert.equal(anonymous.status, 401);
    assert.equal(answer.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert.ok(!text.includes(run));
    const samples = metrics.flatMap(({ name, samples: all }) => all.map(() => name));
    const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    assert.equal(lines.length, samples.length);
    for (const line of lines)
      assert.match(line, /^agentkube_[a-z_]+(\{[a-z]+="[a-z_]+"\})? [0-9.]+$/);
    assert.equal(await value(manager, 'agentkube_manager_refused_total{reason="unauthorized"}'), 1);
  });

  test("close the link of a tool-runner that reports what no schema knows", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const peer = await runner(manager, await seedRun(manager, dataDir));
    await peer.send({ kind: "report", report: { ...report(1, 1), note: "a secret" } });

    assert.equal((await peer.closed).code, 4400);
  });
});
