// The numbers that decide, measured side by side in one run: `npm run bench [ROOM…]`.
// `npm run --silent bench -- --json [ROOM…]` gives one JSON document; `--rounds=N` is for the room of recording, 3 unless given.
import { cpus, release, totalmem } from "node:os";
import { setSandboxSearchPath } from "../src/kit/bubblewrap-zone.ts";
import { messageOf } from "../src/kit/platform-error.ts";
import { giveAllBack, isEnding } from "./belongings.ts";
import { boundaryRows } from "./boundary-rows.ts";
import { callRows } from "./call-rows.ts";
import { capacityRows } from "./capacity-rows.ts";
import { fleetRows } from "./fleet-rows.ts";
import { memoryRows } from "./memory-rows.ts";
import { recordingRows } from "./recording-rows.ts";
import { redactorRows } from "./redactor-rows.ts";
import { missingRow } from "./row.ts";
import type { Row } from "./row.ts";
import { sandboxRows } from "./sandbox-rows.ts";
import { startRows } from "./start-rows.ts";
import { statesRows } from "./states-rows.ts";
import { terminalRows } from "./terminal-rows.ts";
import { throughputRows } from "./throughput-rows.ts";
import { viewerRows } from "./viewer-rows.ts";

const ROOMS: Record<string, () => Promise<Row[]>> = {
  sandbox: sandboxRows,
  call: callRows,
  throughput: throughputRows,
  boundary: boundaryRows,
  redactor: redactorRows,
  start: startRows,
  memory: memoryRows,
  terminal: terminalRows,
  viewers: viewerRows,
  states: statesRows,
  recording: async () => await recordingRows(rounds),
  fleet: fleetRows,
  capacity: capacityRows,
};

const ROUNDS = /^--rounds=([1-9])$/;
const words = process.argv.slice(2);
const json = words.includes("--json");
const rounds = Number(words.map((word) => ROUNDS.exec(word)?.[1]).find(Boolean) ?? 3);
const asked = words.filter((word) => word !== "--json" && !ROUNDS.test(word));
const unknown = asked.filter((word) => !Object.hasOwn(ROOMS, word));
if (unknown.length > 0) {
  process.stderr.write(
    `bench: Expected --json, --rounds=1 to 9, or rooms out of ${Object.keys(ROOMS).join(", ")}, got ${unknown.map((word) => `"${word}"`).join(", ")}\n`,
  );
  process.exit(2);
}

for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)
  process.once(signal, () => {
    process.stderr.write("bench: ending what is running …\n");
    void giveAllBack()
      .catch((error: unknown) => process.stderr.write(`bench: ${messageOf(error)}\n`))
      .finally(() => process.exit(code));
  });

setSandboxSearchPath(process.env["PATH"] ?? "/usr/bin:/bin");
const rows: Row[] = [];
for (const [room, measure] of Object.entries(ROOMS)) {
  if (isEnding()) break;
  if (asked.length > 0 && !asked.includes(room)) continue;
  process.stderr.write(`measuring: ${room} …\n`);
  try {
    rows.push(...(await measure()));
  } catch (error) {
    // One room that cannot be measured must not hide the others.
    rows.push(missingRow(room, messageOf(error)));
  }
}
// The handler above has the last word.
if (isEnding()) await new Promise(() => undefined);
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
    // What could not be measured has no numbers to show.
    const numbers = unit === "" ? "" : `${value} ${unit} (${against}${factor}); `;
    const aim = unit === "" ? goal : `goal ${goal}`;
    process.stdout.write(`${mark} ${row}: ${numbers}${aim}\n`);
  }
}
