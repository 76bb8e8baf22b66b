import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import { assertBeginning, readRecording, startFlood } from "../helpers/flood-run.ts";
import { openLab, resultOf } from "../helpers/lab.ts";
import { trustedPartsOf } from "../helpers/run-parts.ts";

const MB = 1_000_000;
const skip = process.getuid?.() === 0 ? false : "mounting a small file system needs root";

suite("a disk that is full", { skip }, () => {
  test("and stays full beyond the timeout: zone A ends, and with room again the rest is sealed, never as a success", async () => {
    await using lab = openLab();
    mkdirSync(lab.data, { mode: 0o700 });
    using disk = mountSmallDisk(lab.data, "12m");
    const run = await startFlood(lab, 30 * MB, MB, { timeoutMs: 170_000, agentTimeout: "10s" });

    await until(
      "the end of the agentlet",
      () => (trustedPartsOf(run.info.supervisorPid).agentlet === undefined ? true : undefined),
      110_000,
    );
    disk.resize("200m");
    const end = await run.cli.ended;
    const result = resultOf(end);

    assert.notEqual(end.code, 0, end.text);
    assert.notEqual(result.outcome, "succeeded");
    assert.equal(result.recording?.verified, true, end.text);
    const { raw, verify } = await readRecording(lab, result.run);
    assert.deepEqual(verify.problems, []);
    assertBeginning(raw, run, MB);
    assert.deepEqual(await lab.leftovers(), []);
  });

  test("and has room again: the run goes on and nothing is lost", async () => {
    await using lab = openLab();
    mkdirSync(lab.data, { mode: 0o700 });
    using disk = mountSmallDisk(lab.data, "12m");
    const run = await startFlood(lab, 20 * MB, MB, { timeoutMs: 100_000 });

    await new Promise((resolve) => setTimeout(resolve, 6000));
    disk.resize("200m");
    const end = await run.cli.ended;

    assert.equal(end.code, 0, end.text);
    const { raw, verify } = await readRecording(lab, resultOf(end).run);
    assert.deepEqual(verify.problems, []);
    assertBeginning(raw, run, 20 * MB);
  });
});

function mountSmallDisk(dir: string, size: string): { resize(size: string): void } & Disposable {
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size},mode=0700`, "none", dir]);
  return {
    resize: (now) => void execFileSync("mount", ["-o", `remount,size=${now}`, dir]),
    // Lazily: what the test left is ended only after this.
    [Symbol.dispose]: () => void execFileSync("umount", ["-l", dir]),
  };
}
