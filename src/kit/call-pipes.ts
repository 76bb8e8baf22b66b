import { closeSync } from "node:fs";
import { Socket } from "node:net";
import { native } from "./native.ts";
import type { SandboxStdio } from "./sandbox.ts";

/** The standard streams of one call: descriptors for the tool's side, streams for ours. */
export interface CallPipes {
  /** one bit for each of stdin, stdout, stderr that is a pipe */
  readonly bits: number;
  /** to be sent to the tool, in this order */
  readonly theirs: readonly number[];
  /** Our ends, which the caller owns from then on; null for what is ignored. */
  streams(): [stdin: Socket | null, stdout: Socket | null, stderr: Socket | null];
  /** To be called once `theirs` were sent or could not be; also closes our ends unless `streams` took them. */
  closeTheirs(): void;
}

/** Pipes and not sockets: `/dev/stdout` can be opened again, and no descriptor can be sent through them. */
export function openCallPipes(stdio: SandboxStdio): CallPipes {
  const theirs: number[] = [];
  const ours: (number | null)[] = [];
  let bits = 0;
  for (const [index, kind] of [stdio.stdin, stdio.stdout, stdio.stderr].entries()) {
    if (kind === "ignore") {
      ours.push(null);
      continue;
    }
    const [read, write] = native().pipe();
    bits |= 1 << index;
    theirs.push(index === 0 ? read : write);
    ours.push(index === 0 ? write : read);
  }
  let isTaken = false;
  return {
    bits,
    theirs,
    streams() {
      isTaken = true;
      const [stdin, stdout, stderr] = ours.map((fd, index) =>
        fd === null ? null : pipeStream(fd, index === 0),
      );
      return [stdin ?? null, stdout ?? null, stderr ?? null];
    },
    closeTheirs() {
      theirs.forEach(closeSync);
      if (!isTaken) for (const fd of ours) if (fd !== null) closeSync(fd);
    },
  };
}

function pipeStream(fd: number, writable: boolean): Socket {
  // Read from only once somebody listens, or an early end would be told to nobody.
  const options = { fd, readable: !writable, writable, manualStart: true };
  return new Socket(options);
}
