import { constants } from "node:fs";
import { access, chmod, open, readdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import timers from "node:timers/promises";
import { parseJson } from "../kit/json-lines.ts";
import { makeDirectories } from "../kit/make-directories.ts";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import { isGone } from "../kit/process-alive.ts";
import { ManagerFile } from "../protocol/manager-api.ts";
import { writeAtomically } from "./durable-file.ts";

/** The data directory, held by this process until it is disposed. */
export interface DataDir extends AsyncDisposable {
  readonly path: string;
  /** What the manager before this one wrote: its port and token are used again, so that URLs stay valid. */
  readonly previous: ManagerFile | null;
  /** Writes `manager.json` for those who look for this manager. */
  publish(file: ManagerFile): Promise<void>;
}

/** How long a manager that holds the lock may take to write its `manager.json` before we name it. */
const HOLDER_WAIT_MS = 2000;

/**
 * Makes the directory (0700), takes its lock and reads `manager.json`. Throws `PlatformError` `data_unusable` when the directory
 * cannot be used, `manager_locked` when another manager holds it.
 */
export async function openDataDir(
  path: string,
  lockFile: (fd: number) => boolean,
): Promise<DataDir> {
  const dir = resolve(path);
  await prepare(dir);
  const lock = await open(join(dir, "manager.lock"), "a", 0o600);
  try {
    if (!lockFile(lock.fd)) throw await heldByOther(dir);
    for (const name of ["runs", "spool", "store"]) makeDirectories(join(dir, name));
    return {
      path: dir,
      previous: await readManagerFile(dir),
      publish: async (file) =>
        await writeAtomically(join(dir, "manager.json"), `${JSON.stringify(file)}\n`),
      [Symbol.asyncDispose]: async () => await lock.close(),
    };
  } catch (error) {
    await lock.close();
    throw error;
  }
}

async function prepare(dir: string): Promise<void> {
  try {
    makeDirectories(dir);
    const facts = await stat(dir);
    if (!facts.isDirectory()) throw unusable(dir, "is not a directory");
    const uid = process.geteuid?.() ?? facts.uid;
    if (facts.uid !== uid) throw unusable(dir, `belongs to uid ${facts.uid}, this is uid ${uid}`);
    if ((facts.mode & 0o077) !== 0) await tighten(dir, facts.mode);
    await access(dir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    if (error instanceof PlatformError) throw error;
    throw unusable(dir, `cannot be written (${errnoOf(error) ?? messageOf(error)})`, error);
  }
}

/** Only a directory that is ours alone gets 0700: somebody's HOME, given by mistake, keeps its mode. */
async function tighten(dir: string, mode: number): Promise<void> {
  const names = await readdir(dir);
  if (names.length === 0 || names.includes("manager.lock")) await chmod(dir, 0o700);
  else if ((mode & 0o022) !== 0)
    throw unusable(dir, "may be written by others and holds files that are not ours");
}

async function heldByOther(dir: string): Promise<PlatformError> {
  const deadline = Date.now() + HOLDER_WAIT_MS;
  for (;;) {
    const holder = await readManagerFile(dir);
    if (holder !== null && !isGone(holder.pid, null))
      return lockedError(
        dir,
        `A manager already runs at http://127.0.0.1:${holder.port} (pid ${holder.pid}) for data directory "${dir}"`,
      );
    if (Date.now() > deadline)
      return lockedError(dir, `Another process holds the lock of data directory "${dir}"`);
    await timers.setTimeout(50);
  }
}

function lockedError(dir: string, message: string): PlatformError {
  return new PlatformError("manager_locked", message, {
    path: dir,
    fix: "use that manager, or another directory with --data",
  });
}

function unusable(dir: string, why: string, cause?: unknown): PlatformError {
  return new PlatformError("data_unusable", `Data directory "${dir}" ${why}`, {
    path: dir,
    fix: "give a directory of your own with --data, or set AGENTKUBE_DATA",
    cause,
  });
}

async function readManagerFile(dir: string): Promise<ManagerFile | null> {
  try {
    const text = await readFile(join(dir, "manager.json"), "utf8");
    return parseJson("manager.json", ManagerFile, text);
  } catch (error) {
    // A broken file costs only the old port and token: it is written anew.
    if (errnoOf(error) === "ENOENT" || error instanceof PlatformError) {
      if (error instanceof PlatformError && error.code !== "bad_message") throw error;
      return null;
    }
    throw error;
  }
}
