import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { agentlet, api, seedRun, startManager, SUCCEEDED } from "./seed.ts";

const POST = { method: "POST" } as const;

suite("what is asked of a run's CLI", () => {
  test("is taken back when whoever asked goes away, also from an agentlet that is away just then", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const { run, ...seed } = await seedRun(manager, dataDir);
    const first = await agentlet(manager, { run, ...seed });
    await first.until(({ kind }) => kind === "event_ack");
    const leaving = new AbortController();
    const { signal } = leaving;
    const asked = api(manager, `/v1/runs/${run}/prompt`, {
      ...POST,
      body: JSON.stringify({ text: "do it" }),
      signal,
    });
    const { request } = await first.until(({ kind }) => kind === "prompt");
    first.socket.terminate();
    await first.closed;

    leaving.abort();
    await assert.rejects(asked);
    const second = await agentlet(manager, { run, ...seed });
    const taken = await second.until(({ kind }) => kind === "withdraw");

    assert.deepEqual(taken, { kind: "withdraw", request, reason: "whoever asked for it has gone" });
  });

  test("is answered when the run ends first", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const { run, ...seed } = await seedRun(manager, dataDir);
    const link = await agentlet(manager, { run, ...seed });
    await link.until(({ kind }) => kind === "event_ack");
    const asked = api(manager, `/v1/runs/${run}/interrupt`, POST);
    await link.until(({ kind }) => kind === "interrupt");

    const body = JSON.stringify({ end: SUCCEEDED, recording: null });
    assert.equal((await api(manager, `/v1/runs/${run}/end`, { ...POST, body })).status, 200);
    const answer = await asked;

    assert.equal(answer.status, 409);
    assert.match(await answer.text(), /has ended before it was known what became of it/);
  });
});
