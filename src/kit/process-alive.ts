import { readFileSync } from "node:fs";

/**
 * The start time of a process, in clock ticks since boot, as text; null when it is gone or a zombie. Together with the pid it names one
 * process: pids are used again.
 */
export function processStart(pid: number): string | null {
  return livingFields(pid)?.[19] ?? null;
}

/** The state of a process as a letter of proc_pid_stat(5); null when it is gone or a zombie. */
export function processState(pid: number): string | null {
  return livingFields(pid)?.[0] ?? null;
}

/** The fields of a line of proc_pid_stat(5) from the state on: the name before it, in parentheses, may hold spaces and parentheses. */
export function statFields(line: string): string[] {
  return line.slice(line.lastIndexOf(")") + 2).split(" ");
}

/** What /proc says of a process, from its state on; null when it is gone or a zombie. */
function livingFields(pid: number): string[] | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return null;
  }
  const fields = statFields(stat);
  return fields[0] === "Z" || fields[0] === "X" ? null : fields;
}

/** True when the process is gone, a zombie included: who reaps it, and when, is not ours to know. `start` null: any process of that pid. */
export function isGone(pid: number, start: string | null): boolean {
  const now = processStart(pid);
  return now === null || (start !== null && now !== start);
}

/** SIGKILL to one process; false when it has ended already. */
export function killNow(pid: number): boolean {
  try {
    return process.kill(pid, "SIGKILL");
  } catch {
    return false;
  }
}
