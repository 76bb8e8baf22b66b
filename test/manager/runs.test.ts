import assert from "node:assert/strict";
import { appendFile, mkdir, readFile, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite, test } from "node:test";
import { EVENT_LIMITS } from "../../src/manager/event-budget.ts";
import type { RunInfo } from "../../src/protocol/manager-api.ts";
import {
  auditMessages,
  agentlet,
  api,
  Peer,
  registration,
  seedRun,
  startManager,
  SUCCEEDED,
} from "./seed.ts";

const time = "2026-11-20T10:00:00.000Z";
const state = (name: string): object => ({
  type: "state",
  time,
  state: name,
  channel: "hook",
  evidence: "test",
  outputOffset: 0,
});

function call(run: string, operation: string): object {
  return {
    type: "call",
    time,
    run,
    call: "0".repeat(32),
    tool: "github",
    operation,
    outcome: "completed",
    exitCode: 0,
    tier: "standard",
    durationMs: 12,
    requests: 1,
    masked: 0,
  };
}

suite("runs", () => {
  test("are registered once, in private files", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const { body } = registration(dataDir);
    const post = async (changes: object): Promise<number> =>
      (
        await api(manager, "/v1/runs", {
          method: "POST",
          body: JSON.stringify({ ...body, ...changes }),
        })
      ).status;

    assert.equal(await post({}), 201);
    assert.equal(await post({}), 201);
    assert.equal(await post({ supervisorPid: 1 }), 409);
    assert.equal(await post({ run: "other", spoolDir: "/etc" }), 400);
    assert.equal(await post({ run: "other", runtimeDir: "/home/me" }), 400);
    assert.equal(await post({ run: "other", protocol: 7 }), 426);
    assert.equal(await post({ run: "../x" }), 400);
    const dir = join(dataDir, "runs", body["run"] as string);
    assert.equal((await stat(dir)).mode & 0o777, 0o700);
    assert.equal((await stat(join(dir, "run.json"))).mode & 0o777, 0o600);
    assert.equal((await stat(join(dataDir, "manager.json"))).mode & 0o777, 0o600);
    const health = await (await api(manager, "/v1/health")).json();
    const { key, ...facts } = health as Record<string, unknown>;
    assert.match(String(key), /^ed25519:/);
    assert.deepEqual(facts, { protocol: 1, pid: process.pid, version: "0.0.0", liveRuns: 1 });
  });

  test("keep each event once, and acknowledge it when it is on disk", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const first = await agentlet(manager, run);
    await first.send({ kind: "event", seq: 1, event: state("busy") });
    await first.until((message) => message["seq"] === 1);
    await first.send({ kind: "event", seq: 2, event: state("idle") });
    await first.until((message) => message["seq"] === 2);

    const again = await agentlet(manager, run);
    const welcome = await again.json();
    await again.send({ kind: "event", seq: 2, event: state("idle") });
    await again.send({ kind: "event", seq: 3, event: state("permission") });
    await again.until((message) => message["seq"] === 3);

    assert.deepEqual(welcome, { kind: "event_ack", seq: 2 });
    const events = await (await api(manager, `/v1/runs/${run.run}/events?from=2`)).json();
    assert.deepEqual(
      (events as { seq: number; state: string }[]).map((event) => [event.seq, event.state]),
      [
        [2, "idle"],
        [3, "permission"],
      ],
    );
    const info = await (await api(manager, `/v1/runs/${run.run}`)).json();
    const { phase, state: now } = info as { phase: string; state: string };
    assert.deepEqual({ phase, now }, { phase: "running", now: "permission" });
  });

  test("take only so many events of a run, say so in them, and keep how it ended, also after a restart", async (t) => {
    const { runBytes } = EVENT_LIMITS;
    EVENT_LIMITS.runBytes = 16 * 1024;
    t.after(() => {
      EVENT_LIMITS.runBytes = runBytes;
    });
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const link = await agentlet(manager, run);
    const file = join(dataDir, "runs", run.run, "events.jsonl");
    const text = "x".repeat(1000);
    const flood = async (peer: Peer, from: number, to: number) => {
      for (let seq = from; seq <= to; seq++)
        await peer.send({ kind: "event", seq, event: { type: "screen", time, text } });
      await peer.until((message) => message["seq"] === to);
    };
    const exited = { ...state("exited"), channel: "process" };

    await flood(link, 1, 500);
    const cut = await readFile(file, "utf8");
    await manager[Symbol.asyncDispose]();
    const { manager: next } = await startManager(t, { dataDir });
    const back = await agentlet(next, run);
    await flood(back, 501, 1000);
    const info = (await (await api(next, `/v1/runs/${run.run}`)).json()) as RunInfo;
    const ended = { type: "ended", time, end: SUCCEEDED };
    for (const [at, event] of [exited, ended, exited, ended].entries())
      await back.send({ kind: "event", seq: 1001 + at, event });
    await back.until((message) => message["seq"] === 1004);

    const lines = (await readFile(file, "utf8")).trimEnd().split("\n");
    const told = lines.map((line) => JSON.parse(line) as { seq: number; evidence?: string });
    assert.match(cut.trimEnd().split("\n").at(-1) ?? "", /keeps no more of this run's events/);
    assert.ok(cut.length < 17 * 1024);
    assert.ok(lines.join("\n").length < 18 * 1024);
    assert.equal(info.state, "unknown");
    assert.deepEqual(
      told.slice(-3).map(({ seq }) => seq),
      [501, 1001, 1002],
    );
  });

  test("repair a torn last line and work out their state again after a restart", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const link = await agentlet(manager, run);
    await link.send({ kind: "event", seq: 1, event: state("question") });
    await link.until((message) => message["seq"] === 1);
    const audit = new Peer(manager, `/v1/runs/${run.run}/audit`, run.tokens.runner);
    await audit.send({ kind: "hello", protocol: 1, epoch: 1 });
    for (const message of auditMessages(run.run, [call(run.run, "list")]))
      await audit.send(message);
    await audit.until((message) => message["seq"] === 2);
    await manager[Symbol.asyncDispose]();
    const file = join(dataDir, "runs", run.run, "events.jsonl");
    await appendFile(file, '{"seq":2,"type":"no');

    const { manager: next } = await startManager(t, { dataDir });
    const back = await agentlet(next, run);

    assert.deepEqual(await back.json(), { kind: "event_ack", seq: 1 });
    assert.equal((await readFile(file, "utf8")).split("\n").length, 2);
    const info = await (await api(next, `/v1/runs/${run.run}`)).json();
    const { state: now, calls } = info as { state: string; calls: object[] };
    assert.equal(now, "question");
    assert.deepEqual(calls, [
      { tool: "github", operation: "list", outcome: "completed", durationMs: 12 },
    ]);
  });

  test("take audit records of their own run only", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const audit = new Peer(manager, `/v1/runs/${run.run}/audit`, run.tokens.runner);
    await audit.send({ kind: "hello", protocol: 1, epoch: 1 });

    await audit.send({ kind: "audit", seq: 1, record: call("another-run", "list") });

    assert.equal((await audit.closed).code, 4400);
    assert.deepEqual(await (await api(manager, `/v1/runs/${run.run}/audit`)).json(), []);
  });

  test("are followed from any event to the end", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const link = await agentlet(manager, run);
    for (const seq of [1, 2, 3])
      await link.send({ kind: "event", seq, event: state(seq === 3 ? "idle" : "busy") });
    await link.until((message) => message["seq"] === 3);

    const follower = new Peer(manager, `/v1/runs/${run.run}/follow?from=2`, manager.token);
    const start = await follower.json();
    const two = await follower.json();
    const three = await follower.json();
    await link.send({ kind: "event", seq: 4, event: { type: "ended", time, end: SUCCEEDED } });
    await follower.until((message) => message["seq"] === 4);
    await api(manager, `/v1/runs/${run.run}/end`, {
      method: "POST",
      body: JSON.stringify({ end: SUCCEEDED, recording: null }),
    });
    const last = await follower.until(
      ({ info }) => (info as { phase: string } | undefined)?.phase === "ended",
    );

    assert.equal(start["kind"], "run");
    assert.deepEqual([two["seq"], three["seq"]], [2, 3]);
    assert.deepEqual((last["info"] as { end: object }).end, SUCCEEDED);
    assert.equal((await follower.closed).code, 1000);
  });

  test("pass a stop on, also to an agentlet that connects later", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);

    const answer = await api(manager, `/v1/runs/${run.run}/stop`, { method: "POST" });
    const link = await agentlet(manager, run);

    assert.equal(answer.status, 202);
    assert.deepEqual(await link.until(({ kind }) => kind === "stop"), {
      kind: "stop",
      by: "the operator",
    });
  });

  test("stay live while their end cannot be written, can still be stopped, and end at the next try", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const { run, tokens } = await seedRun(manager, dataDir);
    const link = await agentlet(manager, { run, tokens });
    await link.until(({ kind }) => kind === "event_ack");
    const post = async (act: string, body: object): Promise<number> =>
      (
        await api(manager, `/v1/runs/${run}/${act}`, {
          method: "POST",
          body: JSON.stringify(body),
        })
      ).status;
    const end = { end: SUCCEEDED, recording: null };
    // A directory in its place: the file cannot be replaced, as on a full disk.
    const file = join(dataDir, "runs", run, "run.json");
    const kept = await readFile(file);
    await rm(file);
    await mkdir(file);

    assert.equal(await post("stop", {}), 202);
    assert.equal((await link.until(({ kind }) => kind === "stop"))["by"], "the operator");
    assert.equal(await post("end", end), 500);
    const live = (await (await api(manager, `/v1/runs/${run}`)).json()) as RunInfo;
    await rmdir(file);
    await writeFile(file, kept);

    assert.deepEqual([live.phase === "ended", live.end, live.endedAt], [false, null, null]);
    assert.equal(await post("end", end), 200);
    assert.match(await readFile(file, "utf8"), /"phase": "ended"/);
  });

  test("are refused at the cap, with sizes and what to do", async (t) => {
    const { manager, dataDir } = await startManager(t, { capBytes: 10 });
    await seedRun(manager, dataDir);
    const { body } = registration(dataDir);

    const answer = await api(manager, "/v1/runs", { method: "POST", body: JSON.stringify(body) });

    assert.equal(answer.status, 507);
    const { error } = (await answer.json()) as { error: Record<string, string> };
    assert.equal(error["code"], "data_full");
    assert.match(error["message"] ?? "", /holds [0-9]+ B of at most 10 B/);
    assert.match(error["fix"] ?? "", /agentkube prune/);
  });

  test("are removed only when they have ended", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const { run } = await seedRun(manager, dataDir);
    const remove = async (): Promise<number> =>
      (await api(manager, `/v1/runs/${run}`, { method: "DELETE" })).status;

    const live = await remove();
    await api(manager, `/v1/runs/${run}/end`, {
      method: "POST",
      body: JSON.stringify({ end: SUCCEEDED, recording: null }),
    });
    const ended = await remove();

    assert.deepEqual([live, ended], [409, 200]);
    assert.equal((await api(manager, `/v1/runs/${run}`)).status, 404);
  });
});
