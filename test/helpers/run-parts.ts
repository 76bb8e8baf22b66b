// Finds the processes of a run, for tests that kill them.
import { allProcesses } from "./processes.ts";

export type Part = "agentlet" | "tool-runner" | "session-recorder";

/** Process ids of the three children of a supervisor. Those that are not there (yet) are left out. */
export function trustedPartsOf(supervisor: number): Partial<Record<Part, number>> {
  const children = allProcesses().filter(({ parent }) => parent === supervisor);
  const parts: Part[] = ["agentlet", "tool-runner", "session-recorder"];
  return Object.fromEntries(
    parts.flatMap((part) => {
      const child = children.find(({ command }) => command.split(" ").includes(part));
      return child === undefined ? [] : [[part, child.pid]];
    }),
  );
}
