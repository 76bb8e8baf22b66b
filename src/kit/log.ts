import { fstatSync, writeSync } from "node:fs";
import { loggedError } from "./logged-error.ts";

/** Facts first, then what happened; or only what happened. Errors stand under `err`. */
export interface LogLine {
  (facts: object, message: string): void;
  (message: string): void;
}

export interface Log {
  readonly debug: LogLine;
  readonly info: LogLine;
  readonly warn: LogLine;
  readonly error: LogLine;
  /** A log whose lines have these facts too. */
  child(facts: object): Log;
}

const LEVELS = { debug: 20, info: 30, warn: 40, error: 50, silent: Infinity } as const;
export type LogLevel = keyof typeof LEVELS;

/** A logger that writes JSON lines to stderr, or to another descriptor. Never give it argv, env, headers, bytes or values of secrets. */
export function openLog(program: string, level: LogLevel = "info", descriptor = 2): Log {
  return logOf({ name: program }, LEVELS[level], lineWriter(descriptor));
}

/** A logger that keeps nothing, for tests and for library use. */
export const silentLog: Log = logOf({}, LEVELS.silent, () => undefined);

function logOf(own: object, least: number, write: (line: string) => void): Log {
  const at =
    (level: number): LogLine =>
    (first: object | string, message?: string) => {
      if (level < least) return;
      const facts = typeof first === "string" ? {} : first;
      const msg = typeof first === "string" ? first : message;
      write(`${lineOf({ level, time: Date.now(), ...own, ...facts, msg })}\n`);
    };
  return {
    debug: at(LEVELS.debug),
    info: at(LEVELS.info),
    warn: at(LEVELS.warn),
    error: at(LEVELS.error),
    child: (facts) => logOf({ ...own, ...facts }, least, write),
  };
}

/** JSON of a line; what JSON cannot say never throws, since a log must not end what it is about. */
function lineOf(line: { level: number; time: number; msg: string | undefined }): string {
  const plain = (_key: string, value: unknown): unknown => {
    if (value instanceof Error) return loggedError(value);
    return typeof value === "bigint" ? value.toString() : value;
  };
  try {
    return JSON.stringify(line, plain);
  } catch {
    const { level, time, msg } = line;
    return JSON.stringify({ level, time, msg, unreadable: "the facts of this line are no JSON" });
  }
}

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
