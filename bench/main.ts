// The numbers that decide, measured side by side in one run. `npm run --silent bench -- --json` gives one JSON document.
import { cpus, release, totalmem } from "node:os";
import { setSandboxSearchPath } from "../src/kit/sandbox.ts";
import { messageOf } from "../src/kit/platform-error.ts";
import { missingRow } from "./row.ts";
import type { Row } from "./row.ts";
import { sandboxRows } from "./sandbox-rows.ts";
import { startRows } from "./start-rows.ts";
import { terminalRows } from "./terminal-rows.ts";

const GROUPS: [string, () => Promise<Row[]>][] = [
  ["sandbox", sandboxRows],
  ["cold start", startRows],
  ["terminal", terminalRows],
];

const json = process.argv.includes("--json");
setSandboxSearchPath(process.env["PATH"] ?? "/usr/bin:/bin");
const rows: Row[] = [];
for (const [group, measure] of GROUPS) {
  if (!json) process.stderr.write(`measuring: ${group} …\n`);
  try {
    rows.push(...(await measure()));
  } catch (error) {
    // One group that cannot be measured must not hide the others.
    rows.push(missingRow(group, messageOf(error)));
  }
}
const machine = {
  cpu: cpus()[0]?.model ?? "unknown",
  cores: cpus().length,
  memoryGiB: Math.round(totalmem() / 1024 ** 3),
  kernel: release(),
  node: process.version,
};
if (json) process.stdout.write(`${JSON.stringify({ machine, rows })}\n`);
else {
  process.stdout.write(
    `${machine.cores} × ${machine.cpu}, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, Node ${machine.node}\n\n`,
  );
  for (const { row, value, unit, against, ratio, goal, met } of rows) {
    const mark = met === null ? " " : met ? "✓" : "✗";
    const factor = ratio === null ? "" : `, ${ratio} ×`;
    process.stdout.write(`${mark} ${row}: ${value} ${unit} (${against}${factor}; goal ${goal})\n`);
  }
}
