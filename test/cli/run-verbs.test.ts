import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { RunInfo } from "../../src/protocol/manager-api.ts";
import { api, seedRun, startManager } from "../manager/seed.ts";
import { hoursAgo, lastDocument, PreparedData } from "./prepared-data.ts";

const running = {
  phase: "running",
  state: "busy",
  endedAt: null,
  end: null,
  recording: null,
} as const;

suite("agentkube ps", () => {
  test("shows live and recent runs, and every run with --all", async () => {
    using data = new PreparedData();
    data.addRun("old-1", { startedAt: hoursAgo(100), endedAt: hoursAgo(99) });
    data.addRun("new-1");
    data.addRun("live-1", { ...running, supervisorPid: process.pid });
    data.addRun("lost-1", { ...running, startedAt: hoursAgo(1) });

    const recent = await data.run("ps");
    const all = await data.run("ps", "--all", "--json");

    assert.match(recent.stdout.split("\n")[1] ?? "", /^live-1 .*busy/);
    assert.match(recent.stdout, /new-1 .*succeeded \(exited\)/);
    assert.match(recent.stdout, /lost-1 .*interrupted/);
    assert.doesNotMatch(recent.stdout, /old-1/);
    const runs = lastDocument(all)["runs"] as unknown[];
    assert.equal(runs.map((run) => RunInfo.parse(run)).length, 4);
  });

  test("a run that cannot be read does not hide the others", async () => {
    using data = new PreparedData();
    data.addRun("good-1");
    writeFileSync(join(data.addRun("bad-1"), "run.json"), "{");

    const end = await data.run("ps");

    assert.match(end.stdout, /good-1/);
    assert.match(end.stderr, /Run bad-1 left out/);
    assert.equal(end.code, 0);
  });

  test("an empty or missing data directory is no error", async () => {
    using data = new PreparedData();

    const end = await data.run("ps", "--data", join(data.root, "none"), "--json");

    assert.deepEqual([end.code, lastDocument(end)], [0, { runs: [] }]);
    assert.equal(existsSync(join(data.root, "none")), false);
  });
});

suite("agentkube logs", () => {
  const state = {
    type: "state",
    time: hoursAgo(1),
    state: "idle",
    channel: "title",
    outputOffset: 7,
  };

  test("shows events for people and the kept lines for programs", async () => {
    using data = new PreparedData();
    const dir = data.addRun("demo-1");
    const line = JSON.stringify({ seq: 1, ...state, evidence: "title \u001B]0;x" });
    writeFileSync(join(dir, "events.jsonl"), `${line}\n{"seq":2,"type":"fut`);

    const people = await data.run("logs", "demo-1");
    const programs = await data.run("logs", "demo-1", "--json");

    assert.match(people.stdout, /idle {2}seen by title: title \\x1b\]0;x/);
    assert.equal(programs.stdout, `${line}\n`);
  });

  test("-f goes on with what comes, until the run has ended", async () => {
    using data = new PreparedData();
    const live = { ...running, supervisorPid: process.pid };
    const events = join(data.addRun("demo-1", live), "events.jsonl");
    const add = (seq: number): void =>
      appendFileSync(events, `${JSON.stringify({ seq, ...state, evidence: `nr ${seq}` })}\n`);

    const following = data.run("logs", "demo-1", "-f", "--json");
    await timers.setTimeout(300);
    add(1);
    await timers.setTimeout(600);
    add(2);
    data.addRun("demo-1");
    const end = await following;

    const seqs = end.stdout
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { seq: number }).seq);
    assert.deepEqual(seqs, [1, 2]);
    assert.equal(end.code, 0);
  });

  test("--audit shows calls and requests", async () => {
    using data = new PreparedData();
    const record = {
      type: "request",
      time: hoursAgo(1),
      run: "demo-1",
      call: null,
      source: "tool",
      credential: "github",
      method: "GET",
      host: "api.github.com:443",
      path: "/x",
      status: 200,
      bytesUp: 0,
      bytesDown: 12,
      durationMs: 30,
      masked: 0,
      verdict: "allowed",
    };
    writeFileSync(
      join(data.addRun("demo-1"), "audit.jsonl"),
      `${JSON.stringify({ seq: 1, ...record })}\n`,
    );

    const end = await data.run("logs", "demo-1", "--audit");

    assert.match(end.stdout, /tool request GET api.github.com:443\/x {2}allowed 200, with github/);
  });
});

suite("agentkube stop", () => {
  test("a run that has ended stays as it is", async () => {
    using data = new PreparedData();
    data.addRun("demo-1");

    const end = await data.run("stop", "demo-1");

    assert.match(end.stdout, /demo-1 had already ended: succeeded/);
    assert.equal(end.code, 0);
  });

  test("without a manager it asks the supervisor and waits for the end", async () => {
    using data = new PreparedData();
    const supervisor = spawn(
      process.execPath,
      [
        "-e",
        "process.once('SIGTERM', () => setTimeout(() => process.exit(), 300)); setInterval(() => {}, 1e6); console.log('up')",
      ],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    await once(supervisor.stdout, "data");
    data.addRun("demo-1", { ...running, supervisorPid: supervisor.pid ?? -1 });
    const cancelled = {
      outcome: "cancelled",
      reason: "cancelled",
      exitCode: null,
      signal: null,
    } as const;
    supervisor.once("exit", () => data.addRun("demo-1", { end: cancelled }));

    const end = await data.run("stop", "demo-1", "--json");

    assert.deepEqual(RunInfo.parse(lastDocument(end)).end, cancelled);
    assert.equal(end.code, 0);
  });

  test("ends a run by its supervisor when the agentlet hears nothing", async (t) => {
    using data = new PreparedData();
    const { manager } = await startManager(t, { dataDir: data.data });
    const supervisor = spawn(
      process.execPath,
      [
        "-e",
        "process.once('SIGTERM', () => process.exit()); setInterval(() => {}, 1e6); console.log('up')",
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    await once(supervisor.stdout, "data");
    const { run } = await seedRun(manager, data.data, { supervisorPid: supervisor.pid });
    const end = { outcome: "cancelled", reason: "cancelled", exitCode: null, signal: null };
    const body = JSON.stringify({ end, recording: null });
    supervisor.once(
      "exit",
      () => void api(manager, `/v1/runs/${run}/end`, { method: "POST", body }),
    );

    const stopped = await data.run("stop", run, "--json", "--timeout", "30s");

    assert.deepEqual(RunInfo.parse(lastDocument(stopped)).end, end);
    assert.equal(stopped.code, 0);
  });

  test("says so when the run does not end in time", async () => {
    using data = new PreparedData();
    const stubborn = spawn(
      process.execPath,
      ["-e", "process.on('SIGTERM', () => {}); setInterval(() => {}, 1e6); console.log('up')"],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    await once(stubborn.stdout, "data");
    data.addRun("demo-1", { ...running, supervisorPid: stubborn.pid ?? -1 });

    const end = await data.run("stop", "demo-1", "--timeout", "200ms");
    stubborn.kill("SIGKILL");

    assert.equal(end.code, 1);
    assert.match(end.stderr, /did not end within 200 ms/);
  });
});

suite("agentkube prune", () => {
  test("lists and changes nothing without a terminal and --yes", async () => {
    using data = new PreparedData();
    const dir = data.addRun("demo-1");

    const end = await data.run("prune");

    assert.match(end.stdout, /demo-1/);
    assert.equal(end.code, 2);
    assert.ok(existsSync(dir));
  });

  test("removes by age, and never a live, interrupted or unverified run", async () => {
    using data = new PreparedData();
    const old = { startedAt: hoursAgo(1000), endedAt: hoursAgo(999) };
    const sealed = { path: "/x", bytes: 1, sha256: "0".repeat(64), verified: false };
    const gone = data.addRun("old-1", old);
    mkdirSync(join(data.data, "spool", "old-1"), { recursive: true });
    const kept = [
      data.addRun("new-1"),
      data.addRun("unverified-1", { ...old, recording: sealed }),
      data.addRun("unsealed-1", { ...old, recording: null }),
      data.addRun("live-1", { ...running, startedAt: hoursAgo(1000), supervisorPid: process.pid }),
      data.addRun("lost-1", { ...running, startedAt: hoursAgo(1000) }),
    ];

    const end = await data.run("prune", "--older-than", "30d", "--yes", "--json");

    const document = lastDocument(end);
    assert.deepEqual(
      (document["remove"] as { name: string }[]).map(({ name }) => name),
      ["old-1"],
    );
    assert.match(JSON.stringify(document["keep"]), /not verified/);
    assert.equal(existsSync(gone), false);
    assert.equal(existsSync(join(data.data, "spool", "old-1")), false);
    assert.ok(kept.every((dir) => existsSync(dir)));
    assert.equal(end.code, 0);
  });

  test("--keep-bytes removes the oldest until the rest fits", async () => {
    using data = new PreparedData();
    const runs = [1, 2, 3].map((at) => data.addRun(`run-${at}`, { startedAt: hoursAgo(100 - at) }));
    for (const dir of runs) writeFileSync(join(dir, "events.jsonl"), "x".repeat(1_000_000));

    const end = await data.run("prune", "--keep-bytes", "1500k", "--yes");

    assert.equal(end.code, 0);
    assert.deepEqual(
      runs.map((dir) => existsSync(dir)),
      [false, false, true],
    );
  });

  test("packages go only when no run is live", async () => {
    using data = new PreparedData();
    const dir = join(data.data, "store", `sha256-${"a".repeat(64)}`);
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, "tool"), "x");
    data.addRun("live-1", { ...running, supervisorPid: process.pid });

    await data.run("prune", "--yes");
    const before = existsSync(dir);
    data.addRun("live-1", {
      recording: { path: "/x", bytes: 1, sha256: "0".repeat(64), verified: false },
    });
    await data.run("prune", "--yes");

    assert.deepEqual([before, existsSync(dir)], [true, false]);
  });

  test("an age that is none is refused", async () => {
    using data = new PreparedData();
    const dir = data.addRun("demo-1");

    const end = await data.run("prune", "--older-than", "soon", "--yes");

    assert.equal(end.code, 2);
    assert.equal(readFileSync(join(dir, "run.json"), "utf8").length > 0, true);
  });
});
