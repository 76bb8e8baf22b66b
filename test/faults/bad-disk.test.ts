// Real file systems that fail under the spool: ext4 that turned read-only after an error, and a device that cannot write any more.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import { assertBeginning, readRecording, startFlood } from "../helpers/flood-run.ts";
import { openLab, resultOf } from "../helpers/lab.ts";
import type { Lab } from "../helpers/lab.ts";

const MB = 1_000_000;
const skip = cannotMount();

suite("a disk below the spool", { skip }, () => {
  for (const [what, fault] of [
    ["turns read-only", (disk: LoopDisk) => disk.turnReadOnly()],
    ["ends before its files do (EIO)", (disk: LoopDisk) => disk.shrink()],
  ] as const)
    test(`that ${what}: the run ends as recorder_lost, and what was acknowledged is in the record`, async () => {
      await using lab = openLab();
      using disk = loopDisk(lab);
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

interface LoopDisk extends Disposable {
  turnReadOnly(): void;
  shrink(): void;
}

/**
 * A file system of 100 MB for the spools of a lab, on a device in memory. ext4, because of its journal: without one the kernel tells of a
 * lost block once and writes on, or takes a damaged bitmap for a full disk, and a recorder rightly goes on, or waits.
 */
function loopDisk(lab: Lab): LoopDisk {
  const memory = path.join(lab.root, "memory");
  const spools = path.join(lab.data, "spool");
  for (const dir of [memory, lab.data, spools]) mkdirSync(dir, { mode: 0o700 });
  run("mount", "-t", "tmpfs", "-o", "size=110m", "none", memory);
  const image = path.join(memory, "image");
  run("truncate", "-s", "100m", image);
  run("mkfs.ext4", "-q", "-m", "0", image);
  const device = run("losetup", "--find", "--show", image).trim();
  run("mount", "-o", "errors=remount-ro", device, spools);
  return {
    turnReadOnly: () =>
      writeFileSync(`/sys/fs/ext4/${path.basename(device)}/trigger_fs_error`, "1"),
    // What lies behind the new end of the device, the journal too, cannot be written any more.
    shrink: () => {
      run("truncate", "-s", "1m", image);
      run("losetup", "--set-capacity", device);
    },
    [Symbol.dispose]: () => {
      run("umount", "-l", spools);
      run("losetup", "--detach", device);
      run("umount", "-l", memory);
    },
  };
}

function run(program: string, ...words: string[]): string {
  return execFileSync(program, words, { encoding: "utf8" });
}

function cannotMount(): string | false {
  if (process.getuid?.() !== 0) return "loop devices need root";
  if (!existsSync("/dev/loop-control") || !existsSync("/sys/fs/ext4"))
    return "needs loop devices and ext4";
  try {
    run("sh", "-c", "command -v mkfs.ext4 losetup");
    return false;
  } catch {
    return "needs e2fsprogs and losetup";
  }
}
