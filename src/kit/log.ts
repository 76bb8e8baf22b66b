import { fstatSync, writeSync } from "node:fs";
import pino from "pino";

export type Log = pino.Logger;

/** A logger that writes JSON lines to stderr, or to another descriptor. Never give it argv, env, headers, bytes or values of secrets. */
export function openLog(program: string, level = "info", descriptor = 2): Log {
  return pino({ name: program, level, base: { name: program } }, { write: lineWriter(descriptor) });
}

/** A logger that keeps nothing, for tests and for library use. */
export const silentLog: Log = pino({ level: "silent" });

/** What one program may write into a log file; a pipe or a terminal is bounded by who reads it. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

/**
 * A log must never end its program: on a full disk or a closed pipe a line is dropped, and the next one that can be
 * written says how many were.
 */
function lineWriter(descriptor: number): (line: string) => void {
  let dropped = 0;
  let left = fstatSync(descriptor).isFile() ? MAX_FILE_BYTES : Number.POSITIVE_INFINITY;
  return (line) => {
    if (left <= 0) return;
    left -= line.length;
    try {
      if (dropped > 0) {
        writeSync(
          descriptor,
          `{"level":40,"time":${Date.now()},"dropped":${dropped},"msg":"log lines were lost"}\n`,
        );
        dropped = 0;
      }
      writeSync(descriptor, line);
      if (left <= 0)
        writeSync(
          descriptor,
          `{"level":40,"time":${Date.now()},"msg":"log is full (${MAX_FILE_BYTES} bytes); nothing more is written"}\n`,
        );
    } catch {
      dropped += 1;
    }
  };
}
