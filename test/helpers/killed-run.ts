// One real run whose parts are killed again and again at random moments, and what its recording must hold afterwards.
import assert from "node:assert/strict";
import { copyFileSync, globSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import timers from "node:timers/promises";
import { until } from "./until.ts";
import { floodOnTerminal } from "../fixtures/flood.ts";
import { assertSameBytes, readRecording } from "./flood-run.ts";
import { openLab, repository, resultOf } from "./lab.ts";
import type { Lab } from "./lab.ts";
import { anAgent } from "./manifests.ts";
import { trustedPartsOf } from "./run-parts.ts";

/** More than a run prints while it is killed. */
const FLOOD_BYTES = 400_000_000;
const PAUSE_MS = 20;
/** Between two kills of the same part, at most. */
const GAP_MS = 700;
const LIMIT_MS = 180_000;

export interface KillPlan {
  /** at most 5 in a minute: beyond that a supervisor gives a recorder up */
  recorder: number;
  manager: number;
  /** the last kill, which ends the run */
  agentlet: boolean;
}

/**
 * Starts a run that prints without end, kills its parts as the plan says, and compares `recording cat --raw` with what was printed:
 * all of it, or, when the agentlet was killed, all that was acknowledged, and an end that is marked. Gives the number of kills.
 */
export async function killedRun(plan: KillPlan): Promise<number> {
  await using lab = openLab();
  copyFileSync(
    path.join(repository, "test/fixtures/flood.ts"),
    path.join(lab.workspace, "flood.ts"),
  );
  const script = `exec /opt/agentkube/node ./flood.ts ${FLOOD_BYTES} ${PAUSE_MS} stop`;
  const manifest = lab.write("agent.yaml", anAgent(script, { timeout: "10m" }));
  const cli = lab.run([manifest], { timeoutMs: LIMIT_MS });
  const { supervisorPid, run } = await lab.waitForRun(
    ({ committedBytes }) => committedBytes > 100_000,
    LIMIT_MS,
  );
  const recorderPid = (): number | undefined => trustedPartsOf(supervisorPid)["session-recorder"];

  const killed = await Promise.all([
    killEach(plan.recorder, recorderPid),
    killEach(plan.manager, () => lab.manager().pid),
  ]);
  let kills = killed[0] + killed[1];
  if (!plan.agentlet) {
    writeFileSync(path.join(lab.workspace, "stop"), "");
    const end = await cli.ended;
    const result = resultOf(end);
    assert.deepEqual([result.outcome, result.recording?.verified], ["succeeded", true], end.text);
    const { raw, verify } = await readRecording(lab, run);
    assert.deepEqual(verify.problems, []);
    const printed = Number(readFileSync(path.join(lab.workspace, "printed"), "utf8"));
    assertSameBytes(raw, floodOnTerminal(printed));
  } else {
    await timers.setTimeout(Math.random() * GAP_MS);
    // Read before the kill: what is in the spool by then is what may have been acknowledged.
    const acknowledged = lastPositionOf(lab);
    kills += await killEach(1, () => trustedPartsOf(supervisorPid).agentlet);
    const end = await cli.ended;
    const result = resultOf(end);
    assert.deepEqual([result.outcome, result.reason], ["failed", "agentlet_fault"], end.text);
    assert.equal(result.recording?.verified, true, end.text);
    const { raw, verify, cast } = await readRecording(lab, run);
    assert.deepEqual(verify.problems, []);
    assert.match(
      cast,
      /\[[0-9.]+, "m", "recording interrupted: the agentlet [^"]+"\]\n#pos [^\n]*"end":true\}\n$/,
    );
    assert.ok(
      raw.length >= acknowledged,
      `${acknowledged} bytes were acknowledged, ${raw.length} are there`,
    );
    assertSameBytes(raw, floodOnTerminal(raw.length).subarray(0, raw.length));
  }
  assert.deepEqual(await lab.leftovers(), []);
  return kills;
}

/** SIGKILL, so many times, each at a random moment of the life of whoever has the part then. */
async function killEach(times: number, pidOf: () => number | undefined): Promise<number> {
  let last = 0;
  for (let kill = 0; kill < times; kill += 1) {
    await timers.setTimeout(Math.random() * GAP_MS);
    last = await until("somebody to kill", () => {
      const pid = pidOf();
      if (pid === undefined || pid === last) return undefined;
      process.kill(pid, "SIGKILL");
      return pid;
    });
  }
  return times;
}

/** Bytes of output up to the last whole `#pos` of the recorder's spool. */
function lastPositionOf(lab: Lab): number {
  const [spool] = globSync(path.join(lab.data, "spool/*/recording.cast"));
  assert.ok(spool !== undefined, "there is no spool");
  const positions = readFileSync(spool, "latin1").match(/\n#pos \{[^\n]*\}\n/g) ?? [];
  const last = positions.at(-1)?.slice("\n#pos ".length) ?? "{}";
  return (JSON.parse(last) as { out?: number }).out ?? 0;
}
