import { closeSync } from "node:fs";
import { constants } from "node:os";
import { native } from "../kit/native.ts";
import type { Watcher } from "../kit/native.ts";
import type { OwnOutput } from "../kit/init-channel.ts";

const { EAGAIN, EINTR } = constants.errno;
const READ_BYTES = 64 * 1024;

/**
 * Copies the standard output that a program has to itself onto its terminal, where it is shown and recorded like all that the
 * program writes, and tells each piece before. It reads no faster than the terminal takes it. Settles once the program has ended
 * and its last byte is on the terminal, or once the terminal is gone. Never rejects.
 */
export async function copyOwnOutput(
  { from, to }: OwnOutput,
  exited: Promise<unknown>,
  onBytes: (bytes: Buffer) => void,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const scratch = Buffer.allocUnsafeSlow(READ_BYTES);
  let waiting: Buffer | null = null;
  let hasEnded = false;
  let isOver = false;

  const finish = (): void => {
    isOver = true;
    for (const watcher of [reads, writes]) watcher.close();
    resolve();
  };
  /** False while the terminal takes no more. */
  const write = (bytes: Buffer): boolean => {
    for (let at = 0; at < bytes.length;) {
      const count = native().write(to, bytes, at, bytes.length - at);
      if (count === -EAGAIN) {
        waiting = Buffer.from(bytes.subarray(at));
        return false;
      }
      // The terminal is gone: nobody sees it any more.
      if (count < 0 && count !== -EINTR) return true;
      at += Math.max(0, count);
    }
    waiting = null;
    return true;
  };
  const read = (): void => {
    for (;;) {
      const count = native().read(from, scratch, 0, scratch.length);
      if (count === -EINTR) continue;
      // What the program left behind may hold its output open: what was written before the end is all that counts.
      if (count === -EAGAIN) return hasEnded ? finish() : reads.watch(1);
      if (count <= 0) return hasEnded ? finish() : reads.watch(0);
      const bytes = scratch.subarray(0, count);
      onBytes(bytes);
      if (write(bytes)) continue;
      reads.watch(0);
      return writes.watch(2);
    }
  };
  const goOn = (): void => {
    if (isOver) return;
    writes.watch(0);
    if (waiting !== null && !write(waiting)) return writes.watch(2);
    read();
  };
  const reads: Watcher = new (native().Watcher)(from, goOn);
  const writes: Watcher = new (native().Watcher)(to, goOn);
  reads.watch(1);
  void exited.then(() => {
    hasEnded = true;
    if (waiting === null) goOn();
  });
  await promise;
  closeSync(from);
  closeSync(to);
}
