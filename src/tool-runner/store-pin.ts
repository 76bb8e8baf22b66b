import { randomBytes } from "node:crypto";
import { closeSync, openSync, readdirSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import timers from "node:timers/promises";
import { makeDirectories } from "../kit/make-directories.ts";
import { native } from "../kit/native.ts";
import { errnoOf, PlatformError } from "../kit/platform-error.ts";

/** Who may change what the store has; held for moments by users, and by a removal for as long as it takes. */
const GATE = ".gate";
const PIN = /^\.pin-[0-9a-f]{16}$/;
const RETRY_MS = 20;
const GATE_TIMEOUT_MS = 60_000;

/**
 * Keeps the store as it is until disposed: nothing is removed from it meanwhile. The pin is a lock on a file, so a process that
 * is killed holds none. Throws `store_busy` when a removal takes longer than a minute.
 */
export async function pinStore(storeDir: string, signal: AbortSignal): Promise<Disposable> {
  makeDirectories(storeDir);
  using _gate = await enterGate(storeDir, signal);
  const path = join(storeDir, `.pin-${randomBytes(8).toString("hex")}`);
  const file = openSync(path, "wx", 0o600);
  if (!native().lockFile(file)) throw new Error("a new file is locked by another");
  return {
    [Symbol.dispose]: () => {
      unlinkQuietly(path);
      closeSync(file);
    },
  };
}

/** Does `work` while nobody uses the store and nobody can begin to; returns false, without doing it, when somebody does. */
export async function whileUnpinned(
  storeDir: string,
  work: () => Promise<void>,
  signal: AbortSignal,
): Promise<boolean> {
  using _gate = await enterGate(storeDir, signal);
  for (const name of readdirSync(storeDir).filter((entry) => PIN.test(entry))) {
    const path = join(storeDir, name);
    if (isHeld(path)) return false;
    unlinkQuietly(path);
  }
  await work();
  return true;
}

async function enterGate(storeDir: string, signal: AbortSignal): Promise<Disposable> {
  const file = openSync(join(storeDir, GATE), "a", 0o600);
  const gate = { [Symbol.dispose]: () => closeSync(file) };
  try {
    const deadline = performance.now() + GATE_TIMEOUT_MS;
    while (!native().lockFile(file)) {
      if (performance.now() > deadline)
        throw new PlatformError("store_busy", `The store "${storeDir}" is being cleaned up`, {
          path: storeDir,
          fix: "wait for agentkube prune to end",
          retryable: true,
        });
      await timers.setTimeout(RETRY_MS, undefined, { signal });
    }
    return gate;
  } catch (error) {
    gate[Symbol.dispose]();
    throw error;
  }
}

function isHeld(path: string): boolean {
  try {
    const file = openSync(path, "r");
    try {
      return !native().lockFile(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw error;
  }
}

function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
}
