// The manager of the fleet, in a process of its own, with the threads that `agentkube run` gives it.
import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { silentLog } from "../src/kit/log.ts";
import { native } from "../src/kit/native.ts";
import { createSigningKey } from "../src/kit/signing.ts";
import { openManager } from "../src/manager/manager.ts";
import type { Manager } from "../src/manager/manager.ts";
import { createRunId } from "../src/protocol/ids.ts";
import { answer } from "./forked.ts";

/** Opens it once and registers sessions; then says what it used since. */
export type ManagerOrder = { dir: string; sessions: number } | "usage";

export interface OpenedManager {
  url: string;
  sessions: { run: string; token: string }[];
}

export interface ManagerUsage {
  rssBytes: number;
  cpuSeconds: number;
}

const start = { rss: 0, cpu: process.cpuUsage() };

answer(async (order: ManagerOrder): Promise<OpenedManager | ManagerUsage> => {
  if (order === "usage") {
    const { user, system } = process.cpuUsage(start.cpu);
    return {
      rssBytes: process.memoryUsage.rss() - start.rss,
      cpuSeconds: (user + system) / 1e6,
    };
  }
  const manager = await openManager({
    dataDir: join(order.dir, "data"),
    port: 0,
    ephemeral: false,
    capBytes: 8 * 1024 ** 3,
    version: "0.0.0",
    lockFile: (fd) => native().lockFile(fd),
    log: silentLog,
  });
  const sessions: OpenedManager["sessions"] = [];
  for (let index = 0; index < order.sessions; index += 1)
    sessions.push(await register(manager, order.dir));
  start.rss = process.memoryUsage.rss();
  start.cpu = process.cpuUsage();
  return { url: manager.url, sessions };
});

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
