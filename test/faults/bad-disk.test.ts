// Real file systems that fail under the spool or the manager: ext4 that turned read-only after an error, and a device that cannot write any more.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { assertBeginning, readRecording, startFlood } from "../helpers/flood-run.ts";
import { openLab, resultOf } from "../helpers/lab.ts";
import { cannotMount, LoopDisk } from "./loop-disk.ts";
import { RecorderRig } from "./recorder-rig.ts";

const MB = 1_000_000;
const skip = cannotMount();

suite("a disk below the spool", { skip }, () => {
  for (const [what, fault] of [
    ["turns read-only", (disk: LoopDisk) => disk.turnReadOnly()],
    ["ends before its files do (EIO)", (disk: LoopDisk) => disk.shrink()],
  ] as const)
    test(`that ${what}: the run ends as recorder_lost, and what was acknowledged is in the record`, async () => {
      await using lab = openLab();
      mkdirSync(lab.data, { mode: 0o700 });
      using disk = LoopDisk.mount(path.join(lab.data, "spool"));
      const run = await startFlood(lab, 60 * MB, MB, { timeoutMs: 100_000 });
      fault(disk);

      const end = await run.cli.ended;
      const result = resultOf(end);

      assert.equal(end.code, 1, end.text);
      assert.deepEqual([result.outcome, result.reason], ["failed", "recorder_lost"], end.text);
      const { raw, verify } = await readRecording(lab, result.run);
      // Whole as far as it goes; that its recorder could not end it is said.
      const said = verify.problems.map(({ problem }) => problem);
      assert.deepEqual(said, ["Manager never verified this recording"]);
      assertBeginning(raw, run, MB / 2);
      assert.equal(lab.processes().length, 0);
    });
});

suite("a disk below the manager's record", { skip }, () => {
  test("that turns read-only and is replaced: the spool has what it lacks, and nothing is lost", async () => {
    const root = mkdtempSync(path.join(tmpdir(), "akdisk-"));
    try {
      using disk = LoopDisk.mount(path.join(root, "data"));
      await using rig = await RecorderRig.open({ data: path.join(root, "data") });
      await rig.goOn(MB);
      disk.turnReadOnly();
      await rig.goOn(2 * MB);
      await timers.setTimeout(1000);
      const { size } = statSync(rig.cast);
      await rig.goOn(MB);
      assert.equal(statSync(rig.cast).size, size, "a disk that is read-only took more");

      await rig.manager.kill();
      disk.replace();
      await rig.restartManager();
      await rig.goOn(MB);

      await rig.finish();
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  });
});
