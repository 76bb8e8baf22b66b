import { spawn } from "node:child_process";
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
const LOOK_MS = 25;
/** How long the winner of a race for the lock may go on before another manager is tried. */
const BEATEN_MS = 250;
const MAX_LOG_BYTES = 4 * 1024 * 1024;

/**
 * Each recording of the manager waits for its own fdatasync, and those that wait at once share one commit of the file system: with
 * Node's four threads, a thousand sessions would queue behind each other.
 */
export const MANAGER_THREADS = { UV_THREADPOOL_SIZE: "32" };

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
  return requirePort(await startManager(options, logPath, signal), port, dataDir);
}

interface Exit {
  how: string;
  /** another manager holds the lock */
  isBeaten: boolean;
}

/**
 * Starts a manager and waits until one answers. One that found the lock held has lost a race: its winner needs a moment to
 * answer, or was a manager on its way out, whose place must be taken; so it is tried again until the time is over.
 */
async function startManager(
  options: EnsureManagerOptions,
  logPath: string,
  signal: AbortSignal,
): Promise<ManagerClient> {
  const { dataDir } = options;
  const deadline = performance.now() + START_LIMIT_MS;
  let how = `no answer within ${START_LIMIT_MS / 1000} s`;
  while (performance.now() < deadline) {
    const manager = spawnManager(options, logPath);
    let exit: Exit | null = null;
    while (exit === null && performance.now() < deadline) {
      signal.throwIfAborted();
      // Before the look, so that what answers by then is found whatever became of ours.
      exit = manager.exit;
      const client = await findManager(dataDir);
      if (client !== null) return client;
      await timers.setTimeout(exit === null ? LOOK_MS : BEATEN_MS, undefined, { signal });
    }
    if (exit !== null) how = exit.how;
    if (exit?.isBeaten === false) break;
  }
  throw new PlatformError(
    "manager_start_failed",
    `Cannot start the manager of "${dataDir}": ${how}${await lastWords(logPath)}`,
    { path: logPath, fix: "read the log, then run the same command again" },
  );
}

/** Starts a manager that outlives us. `exit`: how it ended, once it has. */
function spawnManager(
  { dataDir, self, env, port }: EnsureManagerOptions,
  logPath: string,
): { exit: Exit | null } {
  const log = openLogFile(logPath);
  try {
    const wish = port === null ? [] : ["--port", String(port)];
    const [program = "", ...args] = [...self, "manager", "--data", dataDir, "--ephemeral", ...wish];
    const child = spawn(program, args, {
      detached: true,
      cwd: "/",
      env: childEnvironment(env, MANAGER_THREADS),
      stdio: ["ignore", "ignore", log],
    });
    child.unref();
    const manager: { exit: Exit | null } = { exit: null };
    child.once("error", (error) => {
      manager.exit = { how: `it did not start: ${messageOf(error)}`, isBeaten: false };
    });
    child.once("exit", (code, killedBy) => {
      const how = `it ended with ${String(code ?? killedBy)}`;
      manager.exit = { how, isBeaten: code === ExitCode.refused };
    });
    return manager;
  } finally {
    closeSync(log);
  }
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

/** The manager's last message, when it left one. */
async function lastWords(path: string): Promise<string> {
  try {
    const lines = (await readFile(path, "utf8")).trimEnd().split("\n");
    // An indented line is the fix below its message.
    const line = lines.findLast((text) => !text.startsWith(" ")) ?? "";
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
