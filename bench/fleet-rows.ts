import { createHash, randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { silentLog } from "../src/kit/log.ts";
import { native } from "../src/kit/native.ts";
import { createSigningKey } from "../src/kit/signing.ts";
import { openManager } from "../src/manager/manager.ts";
import type { Manager } from "../src/manager/manager.ts";
import { createRunId } from "../src/protocol/ids.ts";
import { temporaryDirectory } from "./belongings.ts";
import type { FleetOrder, FleetReport } from "./fleet-recorders.ts";
import { ask, forked } from "./forked.ts";
import { valueRow } from "./row.ts";
import type { Row } from "./row.ts";

const SESSIONS = 1000;
const PROCESSES = 4;
const ORDER = { forMs: 20_000, everyMs: 1000, bytes: 400 };

/** 1,000 sessions that stream at once to one manager: how late it durably has what a terminal gave, and what it costs. */
export async function fleetRows(): Promise<Row[]> {
  await using directory = temporaryDirectory();
  await using manager = await openManager({
    dataDir: join(directory.path, "data"),
    port: 0,
    ephemeral: false,
    capBytes: 8 * 1024 ** 3,
    version: "0.0.0",
    lockFile: (fd) => native().lockFile(fd),
    log: silentLog,
  });
  const sessions: FleetOrder["sessions"] = [];
  for (let index = 0; index < SESSIONS; index += 1)
    sessions.push(await register(manager, directory.path));
  const spools = join(directory.path, "data", "spool");
  mkdirSync(spools, { recursive: true });
  const before = process.memoryUsage.rss();
  const cpu = process.cpuUsage();
  const share = SESSIONS / PROCESSES;
  const reports = await Promise.all(
    Array.from({ length: PROCESSES }, async (_, index) => {
      await using program = forked(new URL("fleet-recorders.ts", import.meta.url));
      const order: FleetOrder = {
        ...ORDER,
        url: manager.url.replace("http", "ws"),
        dir: spools,
        sessions: sessions.slice(index * share, (index + 1) * share),
      };
      return await ask<FleetReport>(program.child, { ...order });
    }),
  );
  const { user, system } = process.cpuUsage(cpu);
  const grown = (process.memoryUsage.rss() - before) / 1024 / 1024;
  const latencies = reports.flatMap((report) => report.latenciesMs).toSorted((a, b) => a - b);
  const verified = reports.reduce((sum, report) => sum + report.verified, 0);
  const at = (part: number): number => latencies[Math.floor(latencies.length * part)] ?? Infinity;
  const what = `${SESSIONS} sessions, ${ORDER.bytes} B each second, ${PROCESSES} processes`;
  return [
    valueRow(
      "1,000 sessions at once: output until durable at the manager, p50",
      at(0.5),
      "ms",
      what,
      null,
    ),
    valueRow(
      "1,000 sessions at once: output until durable at the manager, p99",
      at(0.99),
      "ms",
      what,
      { atMost: 1000 },
    ),
    valueRow("1,000 sessions at once: verified by hash", verified, "sessions", what, {
      atLeast: SESSIONS,
    }),
    valueRow("1,000 sessions at once: the manager's memory grows by", grown, "MiB", what, {
      atMost: 400,
    }),
    valueRow("1,000 sessions at once: the manager's CPU", (user + system) / 1e6, "s", what, null),
  ];
}

async function register(manager: Manager, dir: string): Promise<{ run: string; token: string }> {
  const run = createRunId("fleet");
  const token = randomBytes(32).toString("hex");
  const hash = createHash("sha256").update(token).digest("hex");
  const body = {
    protocol: 1,
    run,
    agent: "fleet",
    runtime: "Custom",
    mode: "system",
    supervisorPid: process.pid,
    runtimeDir: join(dir, `agentkube-${randomBytes(6).toString("hex")}`),
    spoolDir: join(dir, "data", "spool", run),
    tools: [],
    terminal: { cols: 120, rows: 40 },
    interactive: false,
    tokenHashes: { agentlet: hash, recorder: hash, runner: hash },
    runnerKey: createSigningKey().publicKey,
  };
  const answer = await fetch(`${manager.url}/v1/runs`, {
    method: "POST",
    headers: { authorization: `Bearer ${manager.token}` },
    body: JSON.stringify(body),
  });
  if (answer.status !== 201) throw new Error(`Not registered: ${await answer.text()}`);
  return { run, token };
}
