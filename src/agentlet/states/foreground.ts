import { readFileSync } from "node:fs";

/**
 * The name of the program that has a terminal, when it is not the one it was opened for; null when it is.
 * `group`: the terminal's foreground process group, as this process sees it; `program`: the CLI's pid in its own namespace.
 */
export function strangerOn(group: number, program: number): string | null {
  if (group <= 0) return "nobody";
  try {
    const status = readFileSync(`/proc/${group}/status`, "utf8");
    const inside = /^NSpid:\s*(.*)$/m.exec(status)?.[1]?.split(/\s+/).at(-1);
    if (inside === String(program)) return null;
    return (/^Name:\s*(.*)$/m.exec(status)?.[1] ?? "unknown").slice(0, 32);
  } catch {
    return "a program that has just ended";
  }
}
