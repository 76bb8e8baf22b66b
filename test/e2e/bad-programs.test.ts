import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { suite, test } from "node:test";
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

/** The most memory that a process has had so far; 0 once it is gone. */
function peakMiB(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}
