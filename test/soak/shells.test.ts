import assert from "node:assert/strict";
import { test } from "node:test";
import { openLab } from "../helpers/lab.ts";
import { liveThroughShells } from "../helpers/many-shells.ts";
import { anAgent } from "../helpers/manifests.ts";

const SHELLS = 100;

test(`${SHELLS} shells beside one agent are each on record, and none is left`, async () => {
  await using lab = openLab();
  const agent = lab.write("agent.yaml", anAgent("echo agent here; sleep 3000", { timeout: "30m" }));
  const started = await lab.agentkube(["run", agent, "--detach", `--data=${lab.data}`], {
    timeoutMs: 90_000,
  }).ended;
  assert.equal(started.code, 0, started.text);
  const { run } = await lab.waitForRun(({ phase }) => phase === "running", 60_000);

  const shells = await liveThroughShells(lab, run, SHELLS);
  await lab.agentkube(["stop", run, `--data=${lab.data}`]).ended;
  await lab.waitForRun(({ phase }) => phase === "ended", 60_000);

  assert.equal(shells.length, SHELLS);
  assert.ok(shells.every(({ recording }) => recording?.verified === true));
  const codes = shells.map(({ exitCode }) => exitCode);
  assert.equal(codes.filter((code) => code === 137).length, SHELLS / 10);
  assert.equal(codes.filter((code) => code === 3).length, (SHELLS * 9) / 10);
  assert.deepEqual(await lab.leftovers(), []);
});
