import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { until } from "../helpers/until.ts";
import { assertBeginning, assertWhole, readRecording, startFlood } from "../helpers/flood-run.ts";
import type { FloodRun } from "../helpers/flood-run.ts";
import { openLab } from "../helpers/lab.ts";
import type { Lab } from "../helpers/lab.ts";
import { trustedPartsOf } from "../helpers/run-parts.ts";
import type { Part } from "../helpers/run-parts.ts";

const MB = 1_000_000;
const FLOOD = 50 * MB;

type Victim = Part | "manager" | "supervisor" | "viewer";

function pidOf(lab: Lab, run: FloodRun, victim: Victim): number {
  if (victim === "manager") return lab.manager().pid;
  if (victim === "supervisor") return run.info.supervisorPid;
  if (victim === "viewer") return run.cli.pid;
  const pid = trustedPartsOf(run.info.supervisorPid)[victim];
  assert.ok(pid !== undefined, `there is no ${victim}`);
  return pid;
}

/** Waits until the manager has the run ended, asking the files: the manager itself may be gone by then. */
async function untilEnded(lab: Lab, run: string): Promise<{ outcome: string; reason: string }> {
  return await until(
    "the end of the run",
    () => {
      const info = JSON.parse(
        readFileSync(path.join(lab.data, "runs", run, "run.json"), "utf8"),
      ) as {
        phase?: string;
        end?: { outcome: string; reason: string } | null;
        info?: { phase: string; end: { outcome: string; reason: string } | null };
      };
      const { phase, end } = info.info ?? info;
      return phase === "ended" && end !== null && end !== undefined ? end : undefined;
    },
    60_000,
  );
}

suite("50 MB of output while parts are killed", () => {
  const survivable: Victim[][] = [
    ["session-recorder"],
    ["manager"],
    ["tool-runner"],
    ["session-recorder", "manager"],
    ["tool-runner", "session-recorder"],
    ["manager", "tool-runner"],
  ];
  for (const victims of survivable) {
    test(`${victims.join(" and ")}: nothing is lost`, async () => {
      await using lab = openLab();
      const run = await startFlood(lab, FLOOD, 5 * MB, { timeoutMs: 120_000 });

      for (const pid of victims.map((victim) => pidOf(lab, run, victim)))
        process.kill(pid, "SIGKILL");

      await assertWhole(lab, run);
    });
  }

  test("the recorder three times: nothing is lost", async () => {
    await using lab = openLab();
    const run = await startFlood(lab, FLOOD, 2 * MB, { timeoutMs: 120_000 });

    for (let round = 0; round < 3; round++) {
      const pid = await until(
        "a recorder",
        () => trustedPartsOf(run.info.supervisorPid)["session-recorder"],
      );
      process.kill(pid, "SIGKILL");
      await timers.setTimeout(400);
    }

    await assertWhole(lab, run);
  });

  test("the manager stands still for 10 s: nothing is lost", async () => {
    await using lab = openLab();
    const run = await startFlood(lab, FLOOD, 5 * MB, { timeoutMs: 120_000 });

    const { pid } = lab.manager();
    process.kill(pid, "SIGSTOP");
    await timers.setTimeout(10_000);
    try {
      process.kill(pid, "SIGCONT");
    } catch {
      // a supervisor may have replaced it, which is as good
    }

    await assertWhole(lab, run);
  });

  test("the agentlet stands still for good: the run ends at its timeout all the same, its record sealed", async () => {
    await using lab = openLab();
    const run = await startFlood(lab, FLOOD, 2 * MB, { timeoutMs: 280_000, agentTimeout: "30s" });

    process.kill(pidOf(lab, run, "agentlet"), "SIGSTOP");
    const { code } = await run.cli.ended;

    const end = await untilEnded(lab, run.info.run);
    assert.deepEqual([end.outcome, end.reason, code], ["failed", "timed_out", 124]);
    const { raw, verify } = await readRecording(lab, run.info.run);
    assert.deepEqual(verify.problems, []);
    assertBeginning(raw, run, MB);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("the viewer: the run goes on and ends well", async () => {
    await using lab = openLab();
    const run = await startFlood(lab, FLOOD, 5 * MB, { timeoutMs: 120_000 });

    process.kill(run.cli.pid, "SIGKILL");
    const end = await untilEnded(lab, run.info.run);

    assert.deepEqual([end.outcome, end.reason], ["succeeded", "exited"]);
    const { raw, verify } = await readRecording(lab, run.info.run);
    assert.deepEqual(verify.problems, []);
    assertBeginning(raw, run, FLOOD);
    assert.deepEqual(await lab.leftovers(), []);
  });

  for (const victims of [
    ["supervisor"],
    ["supervisor", "manager"],
    ["supervisor", "viewer"],
    ["agentlet", "manager"],
  ] as Victim[][]) {
    test(`${victims.join(" and ")}: the run ends as agentlet_fault within 10 s, with its record sealed`, async () => {
      await using lab = openLab();
      const run = await startFlood(lab, FLOOD, 5 * MB, { timeoutMs: 120_000 });
      const before = await lab.waitForRun();

      for (const pid of victims.map((victim) => pidOf(lab, run, victim)))
        process.kill(pid, "SIGKILL");
      const killed = performance.now();
      // With manager and supervisor dead nobody is left to write the end down, until the next command adopts the run.
      if (victims.includes("supervisor") && victims.includes("manager")) {
        await timers.setTimeout(12_000);
        await lab.agentkube(["ps", "--data", lab.data]).ended;
      }
      const zoneGone = await until("the end of zone A", () =>
        lab.processes().some(({ command }) => command.includes("flood.ts")) ? undefined : true,
      );
      assert.equal(zoneGone, true);
      if (victims.length === 1) assert.ok(performance.now() - killed < 10_000);

      if (!victims.includes("manager") || !victims.includes("supervisor")) {
        const end = await untilEnded(lab, run.info.run);
        assert.deepEqual([end.outcome, end.reason], ["failed", "agentlet_fault"]);
      }
      const { raw, verify } = await readRecording(lab, run.info.run);
      assert.deepEqual(verify.problems, []);
      assertBeginning(raw, run, Math.min(before.committedBytes / 2, 2 * MB));
      assert.deepEqual(await lab.leftovers(), []);
    });
  }
});
