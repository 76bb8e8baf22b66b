// node-pty in a process of its own: reads all that a script prints and drops it.
import { createRequire } from "node:module";
import { answer } from "./forked.ts";

export interface ReaderQuestion {
  library: string;
  script: string;
  cwd: string;
}

export interface ReaderAnswer {
  bytes: number;
  /** wall clock at the last byte */
  endedAt: number;
}

interface NodePty {
  spawn(
    program: string,
    args: string[],
    options: { cwd: string; cols: number; rows: number; encoding: null },
  ): { onData(listener: (chunk: Buffer) => void): void; onExit(listener: () => void): void };
}

answer(async ({ library, script, cwd }: ReaderQuestion): Promise<ReaderAnswer> => {
  const pty = createRequire(import.meta.url)(library) as NodePty;
  // Without an encoding it gives bytes, which is the least it can do.
  const terminal = pty.spawn("/bin/sh", ["-c", script], {
    cwd,
    cols: 120,
    rows: 40,
    encoding: null,
  });
  let bytes = 0;
  let endedAt = 0;
  terminal.onData((chunk) => {
    bytes += chunk.length;
    endedAt = Date.now();
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  terminal.onExit(resolve);
  await promise;
  return { bytes, endedAt };
});
