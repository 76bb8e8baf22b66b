// Looks at the machine's processes through /proc.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export interface SeenProcess {
  pid: number;
  parent: number;
  /** its arguments, joined by blanks */
  command: string;
}

/** Every process of the machine that is not a zombie. */
export function allProcesses(): SeenProcess[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const stat = tryRead(`/proc/${name}/stat`);
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (stat === "" || fields[0] === "Z" || fields[0] === "X") return [];
      const command = tryRead(`/proc/${name}/cmdline`).replaceAll("\0", " ").trim();
      return [{ pid: Number(name), parent: Number(fields[1]), command }];
    });
}

/**
 * Processes that have `text` in their arguments, environment or working directory, or, in a sandbox of their own, that have a
 * directory of that name mounted.
 */
export function processesNaming(text: string): SeenProcess[] {
  const ours = tryLink("/proc/self/ns/mnt");
  return allProcesses().filter(({ pid, command }) => {
    if (command.includes(text)) return true;
    if (tryRead(`/proc/${pid}/environ`).includes(text)) return true;
    if (tryLink(`/proc/${pid}/cwd`).includes(text)) return true;
    if (tryLink(`/proc/${pid}/ns/mnt`) === ours) return false;
    // The fourth field is what was bound; the fifth, where to, may name a mount of the host.
    const mounts = tryRead(`/proc/${pid}/mountinfo`).split("\n");
    return mounts.some((mount) => mount.split(" ")[3]?.includes(text) === true);
  });
}

function tryRead(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return "";
  }
}

function tryLink(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return "";
  }
}
