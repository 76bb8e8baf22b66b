import { readFileSync } from "node:fs";

/**
 * The name of the program that has a terminal, when it is not the one it was opened for; null when it is.
 * `group`: the terminal's foreground process group, as this process sees it; `program`: the CLI's pid in its own namespace, which is
 * `depth` pid namespaces below ours. In namespaces that a program of zone A made below that one, anybody has any number.
 */
export function strangerOn(group: number, program: number, depth: number): string | null {
  if (group <= 0) return "nobody";
  try {
    const status = readFileSync(`/proc/${group}/status`, "utf8");
    const inside = pidsOf(status)[ownDepth() + depth];
    if (inside === String(program)) return null;
    return (/^Name:\s*(.*)$/m.exec(status)?.[1] ?? "unknown").slice(0, 32);
  } catch {
    return "a program that has just ended";
  }
}

/** The pids of a process, from the namespace of /proc down to its own. */
function pidsOf(status: string): string[] {
  return /^NSpid:\s*(.*)$/m.exec(status)?.[1]?.split(/\s+/) ?? [];
}

let known: number | null = null;

/** How far this process is below the namespace of /proc. */
function ownDepth(): number {
  known ??= pidsOf(readFileSync("/proc/self/status", "utf8")).length - 1;
  return known;
}
