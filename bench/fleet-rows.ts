import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { MANAGER_THREADS } from "../src/cli/ensure-manager.ts";
import { temporaryDirectory } from "./belongings.ts";
import type { ManagerOrder, ManagerUsage, OpenedManager } from "./fleet-manager.ts";
import type { FleetOrder, FleetReport } from "./fleet-recorders.ts";
import { ask, forked } from "./forked.ts";
import { valueRow } from "./row.ts";
import type { Row } from "./row.ts";

const SESSIONS = 1000;
const PROCESSES = 4;
const ORDER = { forMs: 20_000, everyMs: 1000, bytes: 400 };
/** Sessions open all at once; until this long after it is the storm of their connections. */
const STORM_MS = 5000;

/** 1,000 sessions that stream at once to one manager: how late it durably has what a terminal gave, and what it costs. */
export async function fleetRows(): Promise<Row[]> {
  await using directory = temporaryDirectory();
  await using manager = forked(new URL("fleet-manager.ts", import.meta.url), MANAGER_THREADS);
  const open: ManagerOrder = { dir: directory.path, sessions: SESSIONS };
  const { url, sessions } = await ask<OpenedManager>(manager.child, open);
  const spools = join(directory.path, "data", "spool");
  mkdirSync(spools, { recursive: true });
  const share = SESSIONS / PROCESSES;
  const reports = await Promise.all(
    Array.from({ length: PROCESSES }, async (_, index) => {
      // A recorder is a process with four threads for its disk; 250 of them here share one.
      await using program = forked(new URL("fleet-recorders.ts", import.meta.url), {
        UV_THREADPOOL_SIZE: "64",
      });
      const order: FleetOrder = {
        ...ORDER,
        stormMs: STORM_MS,
        url,
        dir: spools,
        sessions: sessions.slice(index * share, (index + 1) * share),
      };
      return await ask<FleetReport>(program.child, { ...order });
    }),
  );
  const usage = await ask<ManagerUsage>(manager.child, "usage" satisfies ManagerOrder);
  const grown = usage.rssBytes / 1024 / 1024;
  const sorted = (pick: (report: FleetReport) => number[]): number[] =>
    reports.flatMap(pick).toSorted((a, b) => a - b);
  const streaming = sorted((report) => report.latenciesMs);
  const storm = sorted((report) => report.stormMs);
  const verified = reports.reduce((sum, report) => sum + report.verified, 0);
  const at = (latencies: number[], part: number): number =>
    latencies[Math.floor(latencies.length * part)] ?? Infinity;
  const what = `${SESSIONS} sessions, ${ORDER.bytes} B each second, ${PROCESSES} processes`;
  const name = "1,000 sessions at once";
  return [
    valueRow(
      `${name}: output until durable at the manager, p50`,
      at(streaming, 0.5),
      "ms",
      what,
      null,
    ),
    valueRow(`${name}: output until durable at the manager, p99`, at(streaming, 0.99), "ms", what, {
      atMost: 1000,
    }),
    valueRow(
      `${name}: the same in the first ${STORM_MS / 1000} s, when all connect at once, p99`,
      at(storm, 0.99),
      "ms",
      what,
      null,
    ),
    valueRow(`${name}: verified by hash`, verified, "sessions", what, { atLeast: SESSIONS }),
    valueRow(`${name}: the manager's memory grows by`, grown, "MiB", what, { atMost: 400 }),
    valueRow(`${name}: the manager's CPU`, usage.cpuSeconds, "s", what, null),
  ];
}
