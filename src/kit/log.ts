import pino from "pino";

export type Log = pino.Logger;

/** A logger that writes JSON lines to stderr, or to another descriptor. Never give it argv, env, headers, bytes or values of secrets. */
export function openLog(program: string, level = "info", descriptor = 2): Log {
  return pino(
    { name: program, level, base: { name: program } },
    pino.destination({ dest: descriptor, sync: true }),
  );
}

/** A logger that keeps nothing, for tests and for library use. */
export const silentLog: Log = pino({ level: "silent" });
