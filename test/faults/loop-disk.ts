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
  #isMounted = true;

  private constructor(place: string) {
    this.#place = place;
    this.#memory = mkdtempSync(path.join(tmpdir(), "akloop-"));
    run("mount", "-t", "tmpfs", "-o", "size=110m", "none", this.#memory);
    this.#image = path.join(this.#memory, "image");
    run("truncate", "-s", "100m", this.#image);
    run("mkfs.ext4", "-q", "-m", "0", this.#image);
    this.#device = run("losetup", "--find", "--show", this.#image).trim();
    mkdirSync(place, { mode: 0o700 });
    run("mount", "-o", "errors=remount-ro", this.#device, place);
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

  /**
   * What is on it is in an ordinary directory at the same place from now on. (Not e2fsck: sandboxes of tests beside this one may still have
   * the mount in namespaces of theirs.)
   */
  replace(): void {
    const copy = path.join(this.#memory, "copy");
    run("cp", "-a", this.#place, copy);
    this.#unmount();
    run("cp", "-a", `${copy}/.`, this.#place);
  }

  [Symbol.dispose](): void {
    this.#unmount();
    run("losetup", "--detach", this.#device);
    run("umount", "-l", this.#memory);
    rmdirSync(this.#memory);
  }

  #unmount(): void {
    if (!this.#isMounted) return;
    this.#isMounted = false;
    // Lazily: what the test left is ended only after this.
    run("umount", "-l", this.#place);
  }
}

/** Why there can be no such disk here; false when there can. */
export function cannotMount(): string | false {
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

function run(program: string, ...words: string[]): string {
  return execFileSync(program, words, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}
