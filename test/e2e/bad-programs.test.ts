import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import { findManager } from "../../src/cli/client.ts";
import { openLab, resultOf } from "../helpers/lab.ts";
import { anAgent } from "../helpers/manifests.ts";

const MIB = 1024 * 1024;

/** Programs that no driver expects. Each run has the right end, a record that is whole, and leaves nothing. */
suite("a program that", () => {
  test("prints 50 MB: all of it is on record, and the programs of the run stay small", async () => {
    await using lab = openLab();
    const line = "x".repeat(99);
    const agent = anAgent(`stty raw; yes ${line} | head -c ${50 * MIB}`);
    const cli = lab.run([lab.write("agent.yaml", agent)]);
    let most = 0;
    const watch = setInterval(() => {
      for (const { pid, command } of lab.processes())
        if (/ (?:agentlet|session-recorder)$/.test(command)) most = Math.max(most, peakMiB(pid));
    }, 100);

    const end = await cli.ended.finally(() => clearInterval(watch));

    const result = resultOf(end);
    assert.deepEqual([end.code, result.outcome, result.reason], [0, "succeeded", "exited"]);
    assert.equal(result.recording?.verified, true);
    const raw = await lab.agentkube(["recording", "cat", result.run, "--raw", "--data", lab.data])
      .ended;
    assert.equal(raw.stdout.length, 50 * MIB);
    assert.equal(raw.stdout.indexOf("xy"), -1);
    assert.ok(most > 0 && most < 320, `${most} MiB`);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("never prints: it ends at its timeout, with an empty record that verifies", async () => {
    await using lab = openLab();

    const end = await lab.run([
      lab.write("agent.yaml", anAgent("exec sleep 1000", { timeout: "1s" })),
    ]).ended;

    const result = resultOf(end);
    assert.deepEqual([end.code, result.reason], [124, "timed_out"], end.text);
    assert.equal(result.recording?.verified, true);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("ignores every signal: it ends at its timeout all the same, with all that it started", async () => {
    await using lab = openLab();
    const deaf = "trap '' HUP INT QUIT TERM USR1 USR2 TSTP TTIN TTOU PIPE ALRM";
    const script = `${deaf}; setsid sh -c "${deaf.replaceAll("'", String.raw`\'`)}; sleep 998" & while :; do sleep 999; done`;

    const started = performance.now();
    const end = await lab.run([lab.write("agent.yaml", anAgent(script, { timeout: "1s" }))]).ended;

    assert.deepEqual([end.code, resultOf(end).reason], [124, "timed_out"], end.text);
    assert.ok(performance.now() - started < 25_000);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("exits at once: its code is the run's", async () => {
    await using lab = openLab();

    const end = await lab.run([lab.write("agent.yaml", anAgent("", { command: ["/bin/false"] }))])
      .ended;

    const result = resultOf(end);
    assert.deepEqual([end.code, result.outcome, result.reason], [1, "failed", "exited"], end.text);
    assert.equal(result.recording?.verified, true);
    assert.deepEqual(await lab.leftovers(), []);
  });
});

suite("a terminal", () => {
  test("of 1x1 and of 1000x1000 is one: the program is told, the record verifies and is read", async () => {
    await using lab = openLab();
    const script = `trap 'stty size; n=x$n; [ "$n" = xx ] && exit 0' WINCH; n=; echo ready; while :; do sleep 0.1; done`;
    const cli = lab.run([lab.write("agent.yaml", anAgent(script, { timeout: "40s" }))]);
    const { run } = await lab.waitForRun();
    const client = await findManager(lab.data);
    assert.ok(client !== null);
    const person = client.attach(run, { write: true, from: 0 });
    let seen = "";
    person.on("message", (data: Buffer, isBinary) => {
      if (isBinary) seen += data.subarray(8).toString("latin1");
    });
    await once(person, "open");
    await until("the program", () => (seen.includes("ready") ? true : undefined));

    for (const size of [1, 1000]) {
      person.send(JSON.stringify({ kind: "resize", cols: size, rows: size }));
      // The viewer that was active last decides the size.
      person.send(Buffer.from(" "));
      await until(`${size}`, () => (seen.includes(`${size} ${size}`) ? true : undefined));
    }
    const end = await cli.ended;
    person.terminate();

    const result = resultOf(end);
    assert.deepEqual([end.code, result.reason], [0, "exited"], end.text);
    assert.equal(result.recording?.verified, true);
    const words = ["--data", lab.data];
    const cat = await lab.agentkube(["recording", "cat", run, ...words]).ended;
    const file = result.recording?.path ?? "";
    const told = await lab.agentkube(["agentlet", "explain", file, "--runtime", "ClaudeCode"])
      .ended;
    assert.deepEqual([cat.code, told.code], [0, 0], `${cat.text}${told.text}`);
    assert.match(readFileSync(file, "utf8"), /"r", "1x1"[^]*"r", "1000x1000"/);
    assert.deepEqual(await lab.leftovers(), []);
  });
});

/** The most memory that a process has had so far; 0 once it is gone. */
function peakMiB(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}
