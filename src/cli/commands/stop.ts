import timers from "node:timers/promises";
import { errnoOf, messageOf, PlatformError } from "../../kit/platform-error.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import { findManager } from "../client.ts";
import { dataOption, defineCommand } from "../command.ts";
import { resolveDataDir } from "../data-dir.ts";
import { durationOption } from "../durations.ts";
import { ensureManager } from "../ensure-manager.ts";
import { humanWhy, oneLine } from "../human.ts";
import type { Output } from "../output.ts";
import { findRun, rereadRun, type KnownRun } from "../run-files.ts";

const WAIT_MS = 60_000;
const LOOK_MS = 100;
/** An agentlet that the manager has not been connected to for so long did not hear the wish, and may never. */
const DEAF_MS = 5000;
const ASK_MS = 1000;

/** `agentkube stop`: asks a run to end, and waits until it has. */
export const command = defineCommand({
  name: "stop",
  summary: "stop a run",
  usage: ["stop RUN [--timeout DURATION] [--data DIR] [--json]"],
  description:
    "Waits until the run has ended and its recording is closed, then prints how it ended; --json prints the run's RunInfo.\n" +
    "A run that has ended already stays as it is, with exit code 0. One whose agentlet does not answer is ended by its supervisor.",
  examples: [
    { command: "agentkube stop demo-7f3k2m9q", does: "ends the run as cancelled" },
    { command: "agentkube ps", does: "shows the ids of live runs" },
  ],
  options: {
    timeout: {
      type: "string",
      value: "DURATION",
      help: "how long to wait for the end (default 60s)",
    },
    data: dataOption,
  },
  positionals: { min: 1, max: 1 },
  run: async ({ values, positionals: [run = ""], output, env, cwd, self }) => {
    const waitMs =
      values.timeout === undefined ? WAIT_MS : durationOption("timeout", values.timeout);
    const dataDir = resolveDataDir(values.data, env, cwd);
    const known = await findRun(dataDir, run);
    if (known.info.phase === "ended") return say(known, "had already ended", output);
    const never = new AbortController().signal;
    const manager = await findManager(dataDir);
    if (manager !== null) await manager.stop(run);
    else if (known.supervised) askSupervisor(known);
    // Nobody is left to end it: a manager closes what it finds without processes.
    else await ensureManager({ dataDir, self, env, port: null }, never);
    const supervising = manager === null ? null : superviseStop(known, dataDir);
    try {
      return say(await waitForEnd(known, waitMs), "ended", output);
    } finally {
      supervising?.[Symbol.dispose]();
    }
  },
});

/** Without a manager (it is being restarted) the supervisor takes a signal for the same wish. */
function askSupervisor({ info }: KnownRun): void {
  try {
    process.kill(info.supervisorPid, "SIGTERM");
  } catch (error) {
    if (errnoOf(error) === "ESRCH") return;
    throw new PlatformError(
      "stop_failed",
      `Cannot signal the supervisor of run "${info.run}" (pid ${info.supervisorPid}): ${messageOf(error)}`,
      { cause: error },
    );
  }
}

/** Has the supervisor end a run whose agentlet hears nothing: it tells it once more, and kills it when that does not help. */
function superviseStop(known: KnownRun, dataDir: string): Disposable {
  const timer = setInterval(() => {
    void findRun(dataDir, known.info.run)
      .then((now) => {
        const { agentletAwayMs = 0, phase } = now.info;
        if (!now.supervised || phase === "ending" || (agentletAwayMs ?? 0) < DEAF_MS) return;
        clearInterval(timer);
        askSupervisor(now);
      })
      // Looked at again in a moment; how the stop ends says `waitForEnd`.
      .catch(() => undefined);
  }, ASK_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

async function waitForEnd(known: KnownRun, waitMs: number): Promise<KnownRun> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const now = await rereadRun(known);
    if (now.info.phase === "ended") return now;
    if (performance.now() >= deadline)
      throw new PlatformError(
        "stop_timed_out",
        `Run "${known.info.run}" was asked to stop but did not end within ${waitMs} ms`,
        { fix: `agentkube logs ${known.info.run} -f shows what it does`, retryable: true },
      );
    await timers.setTimeout(LOOK_MS);
  }
}

function say({ info }: KnownRun, how: string, output: Output): number {
  if (output.json) {
    output.document(info);
    return ExitCode.done;
  }
  const { end, recording } = info;
  const ending =
    end === null
      ? "without saying how"
      : `${end.outcome}${humanWhy(end)}${end.detail === undefined ? "" : `: ${oneLine(end.detail.cause)}`}`;
  output.line(`Run ${info.run} ${how}: ${ending}`);
  if (recording !== null)
    output.line(
      `Recording ${recording.verified ? "verified" : "NOT verified"}: agentkube recording play ${info.run}`,
    );
  return ExitCode.done;
}
