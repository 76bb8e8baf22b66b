import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import timers from "node:timers/promises";
import { ownChild } from "./belongings.ts";
import { openLiveRun } from "./live-run.ts";
import type { LiveRun } from "./live-run.ts";
import { median } from "./measure.ts";
import { writeMixedOutput } from "./mixed-output.ts";
import { missingRow, peerRow, ratioRow } from "./row.ts";
import type { Row } from "./row.ts";
import { trueTools } from "./true-tools.ts";

const REST_MS = 5000;
const SAMPLES = 5;
const PROGRAMS = [
  { program: "agentlet", atMost: 72 },
  { program: "session-recorder", atMost: 72 },
  { program: "tool-runner", atMost: 96 },
] as const;
const PIECE_BYTES = 10_000_000;
const PRINT_MS = 240_000;
/** Prints the file `mixed` as often as the file `go` says, each time that there is one, and removes it then. */
const PRINTS =
  'stty -onlcr; while sleep 0.1; do [ -s go ] && { for i in $(seq "$(cat go)"); do cat mixed; done; rm go; }; done';

/** Resident memory of the programs of a live run: at rest against a Node that does nothing, and after 1 GB of output against the first of it. */
export async function memoryRows(): Promise<Row[]> {
  return [...(await restRows()), ...(await outputRows())];
}

async function restRows(): Promise<Row[]> {
  await using run = await openLiveRun(trueTools());
  await using bare = ownChild(
    spawn(process.execPath, ["-e", "setInterval(() => {}, 1e6)"], { stdio: "ignore" }),
  );
  const used = await restingMiB(run);
  const node = { name: "node", value: await residentMiB(bare.child.pid) };
  return PROGRAMS.map(({ program, atMost }) => {
    const name = `memory at rest of ${program}`;
    const value = used.get(program);
    return value === undefined
      ? missingRow(name, "expected one such process")
      : peerRow(name, value, "MiB", node, { atMost });
  });
}

async function outputRows(): Promise<Row[]> {
  await using run = await openLiveRun([], PRINTS);
  writeMixedOutput(path.join(run.lab.workspace, "mixed"), PIECE_BYTES);
  await print(run, 10);
  const first = await restingMiB(run);
  await print(run, 100);
  const then = await restingMiB(run);
  return PROGRAMS.filter(({ program }) => program !== "tool-runner").map(({ program }) => {
    const name = `memory of ${program} after another 1 GB of output`;
    const [before, after] = [first.get(program), then.get(program)];
    return before === undefined || after === undefined
      ? missingRow(name, "expected one such process")
      : ratioRow(
          name,
          after,
          "MiB",
          { name: "after its first 100 MB", value: before },
          { atMost: 1.1 },
        );
  });
}

/** Resolves when the agent has printed so many pieces. */
async function print(run: LiveRun, pieces: number): Promise<void> {
  const go = path.join(run.lab.workspace, "go");
  writeFileSync(go, String(pieces));
  const deadline = performance.now() + PRINT_MS;
  while (existsSync(go)) {
    if (performance.now() > deadline) {
      rmSync(go, { force: true });
      throw new Error(`Expected ${pieces} pieces printed within ${PRINT_MS} ms`);
    }
    await timers.setTimeout(50);
  }
}

/** What each program takes after a rest; one that is not there once is left out. */
async function restingMiB(run: LiveRun): Promise<Map<string, number>> {
  await timers.setTimeout(REST_MS);
  const processes = run.lab.processes();
  const used = new Map<string, number>();
  for (const { program } of PROGRAMS) {
    // Its argument is the last word of the command line, whatever Node and path stand before it.
    const [only, second] = processes.filter(({ command }) => command.endsWith(` ${program}`));
    if (only !== undefined && second === undefined) used.set(program, await residentMiB(only.pid));
  }
  return used;
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
