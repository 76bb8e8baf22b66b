import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, ftruncateSync, fstatSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import timers from "node:timers/promises";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import { ExitCode } from "../protocol/outcome.ts";
import { findManager, type ManagerClient } from "./client.ts";
import { openDataDir } from "./data-dir.ts";
import { childEnvironment } from "./child-environment.ts";

const START_LIMIT_MS = 10_000;
const MAX_LOG_BYTES = 4 * 1024 * 1024;

export interface EnsureManagerOptions {
  readonly dataDir: string;
  /** how to run this program: node and its arguments up to the verb */
  readonly self: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** the port asked for; null: the last one or any */
  readonly port: number | null;
}

/** A client of the data directory's manager; starts one when none answers. Throws `manager_start_failed` after 10 s. */
export async function ensureManager(
  options: EnsureManagerOptions,
  signal: AbortSignal,
): Promise<ManagerClient> {
  const { dataDir, port } = options;
  openDataDir(dataDir);
  const running = await findManager(dataDir);
  if (running !== null) return requirePort(running, port, dataDir);

  const logPath = join(dataDir, "manager.log");
  const log = openLogFile(logPath);
  try {
    const wish = port === null ? [] : ["--port", String(port)];
    const words = [...options.self, "manager", "--data", dataDir, "--ephemeral", ...wish];
    const [program = "", ...args] = words;
    const child = spawn(program, args, {
      detached: true,
      cwd: "/",
      env: childEnvironment(options.env),
      stdio: ["ignore", "ignore", log],
    });
    child.unref();
    const exited: Promise<Exit> = once(child, "exit").then(
      ([code, killedBy]) => ({
        how: `it ended with ${String(code ?? killedBy)}`,
        isBeaten: code === ExitCode.refused,
      }),
      (error: unknown) => ({ how: `it did not start: ${messageOf(error)}`, isBeaten: false }),
    );
    return requirePort(await waitForManager(dataDir, exited, logPath, signal), port, dataDir);
  } finally {
    closeSync(log);
  }
}

interface Exit {
  how: string;
  /** another manager holds the lock */
  isBeaten: boolean;
}

async function waitForManager(
  dataDir: string,
  exited: Promise<Exit>,
  logPath: string,
  signal: AbortSignal,
): Promise<ManagerClient> {
  const deadline = Date.now() + START_LIMIT_MS;
  let ended: (Exit & { at: number }) | undefined;
  void exited.then((exit) => (ended = { ...exit, at: Date.now() }));
  while (Date.now() < deadline) {
    signal.throwIfAborted();
    const client = await findManager(dataDir);
    if (client !== null) return client;
    // A manager that lost the race for the lock ends at once; the winner may need another moment.
    if (ended !== undefined && (!ended.isBeaten || Date.now() - ended.at > 2000)) break;
    await timers.setTimeout(25, undefined, { signal });
  }
  throw new PlatformError(
    "manager_start_failed",
    `Cannot start the manager of "${dataDir}": ${ended?.how ?? `no answer within ${START_LIMIT_MS / 1000} s`}${await lastWords(logPath)}`,
    { path: logPath, fix: "read the log, then run the same command again" },
  );
}

function requirePort(client: ManagerClient, port: number | null, dataDir: string): ManagerClient {
  if (port === null || port === 0 || port === client.port) return client;
  throw new PlatformError(
    "manager_locked",
    `Cannot use port ${port}: the manager of "${dataDir}" already runs on port ${client.port} (pid ${client.pid})`,
    { fix: "leave --port out, or give another --data DIR" },
  );
}

function openLogFile(path: string): number {
  try {
    const fd = openSync(path, "a", 0o600);
    if (fstatSync(fd).size > MAX_LOG_BYTES) ftruncateSync(fd, 0);
    return fd;
  } catch (error) {
    throw new PlatformError(
      "data_dir_unusable",
      `Cannot write "${path}": ${errnoOf(error) ?? messageOf(error)}`,
      { path, fix: "give a directory that you can write to with --data DIR", cause: error },
    );
  }
}

/** The message of the manager's last log line, when it has one. */
async function lastWords(path: string): Promise<string> {
  try {
    const line = (await readFile(path, "utf8")).trimEnd().split("\n").at(-1) ?? "";
    const parsed: unknown = line.startsWith("{") ? JSON.parse(line) : line;
    if (typeof parsed === "string")
      return parsed === "" ? "" : `; it said: ${parsed.slice(0, 500)}`;
    if (typeof parsed === "object" && parsed !== null && "msg" in parsed)
      return `; it said: ${String(parsed.msg).slice(0, 500)}`;
  } catch {
    // The log is a help, not a need.
  }
  return "";
}
