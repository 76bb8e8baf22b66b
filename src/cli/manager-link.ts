import timers from "node:timers/promises";
import { Backoff } from "../kit/backoff.ts";
import type { Log } from "../kit/log.ts";
import { messageOf, PlatformError } from "../kit/platform-error.ts";
import type { FinishRun, RegisterRun } from "../protocol/manager-api.ts";
import type { ManagerClient } from "./client.ts";
import { ensureManager, type EnsureManagerOptions } from "./ensure-manager.ts";

const CHECK_MS = 1000;
const FINISH_LIMIT_MS = 60_000;

/** The supervisor's side of the manager: started when it is missing, started again on the same port when it dies. */
export interface ManagerLink {
  readonly url: string;
  register(run: RegisterRun): Promise<void>;
  /** Looks every second whether the manager answers, and starts it again when not. Ends when aborted; never rejects. */
  watch(log: Log, signal: AbortSignal): Promise<void>;
  /** Tells the manager the end of the run; tries for a minute. False when it could not be told. */
  finish(run: string, finish: FinishRun, log: Log): Promise<boolean>;
}

/** Makes sure that a manager runs. Throws what keeps it from running. */
export async function openManagerLink(
  options: EnsureManagerOptions,
  signal: AbortSignal,
): Promise<ManagerLink> {
  let client = await ensureManager(options, signal);
  const { port } = client;
  /** Children know the port, so a manager that comes back must have the same. */
  const again = async (until: AbortSignal): Promise<ManagerClient> => {
    client = await ensureManager({ ...options, port }, until);
    return client;
  };
  return {
    url: client.url,
    register: async (run) => {
      for (let attempt = 1; ; attempt += 1) {
        try {
          await client.registerRun(run);
          return;
        } catch (error) {
          // An idle manager may end between our look and our word.
          const isAway = error instanceof PlatformError && error.code === "manager_unreachable";
          if (!isAway || attempt >= 3) throw error;
          await again(signal);
        }
      }
    },
    watch: async (log, until) => {
      const backoff = new Backoff({ minMs: 200, maxMs: 5000 });
      while (!until.aborted) {
        try {
          await timers.setTimeout(CHECK_MS, undefined, { signal: until });
          if (await client.isHealthy()) continue;
          log.warn({ manager: client.pid }, "manager does not answer, starting it again");
          await again(until);
          log.info({ manager: client.pid }, "manager answers again");
          backoff.startOver();
        } catch (error) {
          if (until.aborted) return;
          log.error({ err: messageOf(error) }, "manager could not be started again");
          await backoff.wait(until).catch(() => {});
        }
      }
    },
    finish: async (run, finish, log) => {
      const limit = AbortSignal.timeout(FINISH_LIMIT_MS);
      const backoff = new Backoff({ minMs: 100, maxMs: 2000 });
      while (!limit.aborted) {
        try {
          await client.finishRun(run, finish);
          return true;
        } catch (error) {
          log.warn({ err: messageOf(error) }, "manager could not be told the end of the run");
          await backoff.wait(limit).catch(() => {});
          if (!limit.aborted) await again(limit).catch(() => {});
        }
      }
      return false;
    },
  };
}
