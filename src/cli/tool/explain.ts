import type { ToolExplanation } from "../../protocol/results.ts";

import { humanBytes, humanSpan, humanTable, oneLine } from "../human.ts";
import type { Output } from "../output.ts";

/** Shows what a call would see and may use. */
export function showExplanation(explained: ToolExplanation, output: Output): void {
  const { limits, stdin } = explained;
  const rows: [string, string][] = [
    ["tool", `${explained.tool} ${explained.operation}, ${explained.digest}`],
    ["tier", explained.tier],
    ["argv", explained.argv.map((word) => JSON.stringify(word)).join(" ")],
    ["stdin", stdin],
    ["directory", explained.cwd],
    ...explained.mounts.map(({ target, source, mode }): [string, string] => [
      "mount",
      `${target}  ${mode}  ${source}`,
    ]),
    ["env", explained.env.join(" ")],
    ["network", explained.network.join(", ") || "none"],
    ...explained.credentials.map(({ name, secret, delivery, exposure, rule }): [string, string] => [
      "credential",
      `${name} (${secret}) as ${delivery}, exposure: ${exposure}${rule === null ? "" : `: ${rule.methods.join(",")} ${rule.hosts.join(",")} ${rule.paths.join(" ")}`}`,
    ]),
    ["files", explained.files.join(" ") || "none"],
    [
      "limits",
      `${humanSpan(limits.timeoutMs)} wall clock, ${humanSpan(limits.cpuMs)} CPU, ${humanBytes(limits.memoryBytes)} memory, ${limits.processes} processes, ${humanBytes(limits.scratchBytes)} scratch, ${humanBytes(limits.outputBytes)} output, ${humanBytes(limits.filesBytes)} files`,
    ],
  ];
  for (const line of humanTable(
    ["WHAT", "THE CALL GETS"],
    rows.map((row) => row.map(oneLine)),
  ))
    output.line(line);
}
