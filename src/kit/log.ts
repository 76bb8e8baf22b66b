import pino from "pino";

export type Log = pino.Logger;

/** A logger that writes JSON lines to stderr. Never give it argv, env, headers, bytes or values of secrets. */
export function openLog(program: string, level = "info"): Log {
  return pino(
    { name: program, level, base: { name: program } },
    pino.destination({ dest: 2, sync: true }),
  );
}

/** A logger that keeps nothing, for tests and for library use. */
export const silentLog: Log = pino({ level: "silent" });
