import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/**
 * A file system of 100 MB that can be made to fail, on a device in memory. ext4, because of its journal: without one the kernel tells of a
 * lost block once and writes on, or takes a damaged bitmap for a full disk, and a recorder rightly goes on, or waits.
 */
export class LoopDisk implements Disposable {
  readonly #place: string;
  readonly #memory: string;
  readonly #image: string;
  readonly #device: string;

  private constructor(place: string) {
    this.#place = place;
    this.#memory = mkdtempSync(path.join(tmpdir(), "akloop-"));
    run("mount", "-t", "tmpfs", "-o", "size=110m", "none", this.#memory);
    this.#image = path.join(this.#memory, "image");
    run("truncate", "-s", "100m", this.#image);
    run("mkfs.ext4", "-q", "-m", "0", this.#image);
    this.#device = run("losetup", "--find", "--show", this.#image).trim();
    mkdirSync(place, { mode: 0o700 });
    this.#mount();
  }

  /** Makes the directory `place`, and a disk on it. */
  static mount(place: string): LoopDisk {
    return new LoopDisk(place);
  }

  turnReadOnly(): void {
    writeFileSync(`/sys/fs/ext4/${path.basename(this.#device)}/trigger_fs_error`, "1");
  }

  /** What lies behind the new end of the device, the journal too, cannot be written any more. */
  shrink(): void {
    run("truncate", "-s", "1m", this.#image);
    run("losetup", "--set-capacity", this.#device);
  }

  /** As an operator does once nobody has files open on it. */
  repair(): void {
    run("umount", this.#place);
    // Exit code 1: errors were corrected.
    run("sh", "-c", 'e2fsck -fy "$0" || test $? -eq 1', this.#device);
    this.#mount();
  }

  [Symbol.dispose](): void {
    // Lazily: what the test left is ended only after this.
    run("umount", "-l", this.#place);
    run("losetup", "--detach", this.#device);
    run("umount", "-l", this.#memory);
    rmdirSync(this.#memory);
  }

  #mount(): void {
    run("mount", "-o", "errors=remount-ro", this.#device, this.#place);
  }
}

/** Why there can be no such disk here; false when there can. */
export function cannotMount(): string | false {
  if (process.getuid?.() !== 0) return "loop devices need root";
  if (!existsSync("/dev/loop-control") || !existsSync("/sys/fs/ext4"))
    return "needs loop devices and ext4";
  try {
    run("sh", "-c", "command -v mkfs.ext4 e2fsck losetup");
    return false;
  } catch {
    return "needs e2fsprogs and losetup";
  }
}

function run(program: string, ...words: string[]): string {
  return execFileSync(program, words, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}
