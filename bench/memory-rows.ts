import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import timers from "node:timers/promises";
import { ownChild } from "./belongings.ts";
import { openLiveRun } from "./live-run.ts";
import { median } from "./measure.ts";
import { missingRow, peerRow } from "./row.ts";
import type { Row } from "./row.ts";
import { trueTools } from "./true-tools.ts";

const REST_MS = 5000;
const SAMPLES = 5;
const PROGRAMS = [
  { program: "agentlet", atMost: 72 },
  { program: "session-recorder", atMost: 72 },
  { program: "tool-runner", atMost: 96 },
] as const;

/** Resident memory of the three programs of a live run whose agent sleeps, against a Node that does nothing. */
export async function memoryRows(): Promise<Row[]> {
  await using run = await openLiveRun(trueTools());
  await using bare = ownChild(
    spawn(process.execPath, ["-e", "setInterval(() => {}, 1e6)"], { stdio: "ignore" }),
  );
  await timers.setTimeout(REST_MS);
  const processes = run.lab.processes();
  const pids = PROGRAMS.map(({ program }) =>
    // Its argument is the last word of the command line, whatever Node and path stand before it.
    processes.filter(({ command }) => command.endsWith(` ${program}`)).map(({ pid }) => pid),
  );
  const node = { name: "node", value: await residentMiB(bare.child.pid) };
  const rows: Row[] = [];
  for (const [index, { program, atMost }] of PROGRAMS.entries()) {
    const name = `memory at rest of ${program}`;
    const [pid, second] = pids[index] ?? [];
    rows.push(
      pid === undefined || second !== undefined
        ? missingRow(name, `expected one such process, found ${pids[index]?.length ?? 0}`)
        : peerRow(name, await residentMiB(pid), "MiB", node, { atMost }),
    );
  }
  return rows;
}

async function residentMiB(pid: number | undefined): Promise<number> {
  const samples: number[] = [];
  for (let sample = 0; sample < SAMPLES; sample++) {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    samples.push(Number(kib) / 1024);
    await timers.setTimeout(100);
  }
  return median(samples);
}
