import { rmdirSync } from "node:fs";
import { join } from "node:path";
import timers from "node:timers/promises";
import type { Log } from "../kit/log.ts";
import { MAX_TIMER_MS } from "../kit/max-timer.ts";
import type { ChildStatus, SealedRecording } from "../protocol/child-status.ts";
import { errorFacts } from "../kit/platform-error.ts";
import { endOfRefusal, exitCodeOfRun, type RunEnd } from "../protocol/outcome.ts";
import type { AgentletBoot, RecorderBoot, RunnerBoot, RunSpec } from "../protocol/run-spec.ts";
import { Child, KeptChild, type ChildOptions } from "./children.ts";
import { cancelledEnd, faultEnd } from "./fault-ends.ts";
import type { ManagerLink } from "./manager-link.ts";
import type { PreparedRun } from "./prepare-run.ts";
import type { RunTokens } from "./run-tokens.ts";
import type { SupervisorReport } from "./supervisor-request.ts";

/** How long the agentlet may take from a stop to its end; its own ladder takes 4 s, the recorder's seal some more. */
const STOP_LIMIT_MS = 15_000;
/**
 * How long after the run's timeout the agentlet, which keeps it, may still be there. Its clock starts later, by the start of a zone; then
 * come its ladder, its shells, a session's files and a recorder that makes the last bytes durable.
 */
const TIMEOUT_GRACE_MS = 150_000;
/** How long an agentlet may take to exit once it has said how the run ended. */
const EXIT_LIMIT_MS = 5000;
const RUNNER_END_MS = 10_000;
/** The recorder itself gives up after ten minutes; a recorder that does not even do that is ended. */
const SEAL_LIMIT_MS = 11 * 60_000;

export interface SuperviseOptions {
  readonly spec: RunSpec;
  readonly specPath: string;
  readonly logsDir: string;
  readonly self: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
  readonly prepared: PreparedRun;
  readonly tokens: RunTokens;
  readonly manager: ManagerLink;
  report(message: SupervisorReport): void;
}

/** Starts the three programs of a registered run, keeps them alive, and brings the run to its one end. */
export async function superviseRun(options: SuperviseOptions, stop: AbortSignal): Promise<number> {
  const { spec, log, manager } = options;
  const watching = new AbortController();
  const watched = manager.watch(log, watching.signal);
  const programs = new Programs(options);
  let end: RunEnd;
  try {
    end = await programs.run(stop);
  } catch (error) {
    log.error({ err: error }, "run could not be started");
    options.report({ kind: "fault", agent: spec.agentName, ...errorFacts(error, "not_started") });
    end = stop.aborted ? cancelledEnd(stop, "starting") : endOfRefusal(error);
  }
  const recording = await programs.close();
  const isTold = await manager.finish(spec.run, { end, recording }, log);
  watching.abort();
  await watched;
  if (recording?.verified === true || recording === null) removeEmpty(spec.spoolDir);
  log.info({ end, recording, isTold }, "run ended");
  return exitCodeOfRun(end, recording);
}

/** The three child processes of a run, from start to end. */
class Programs {
  readonly #options: SuperviseOptions;
  #recorder: KeptChild | null = null;
  #runner: KeptChild | null = null;
  #agentlet: Child | null = null;
  #recording: SealedRecording | null = null;
  #agentletGone = "";

  constructor(options: SuperviseOptions) {
    this.#options = options;
  }

  /** Resolves with the end of the run, once the agentlet is gone. Rejects when the run could not be started. */
  async run(stop: AbortSignal): Promise<RunEnd> {
    this.#recorder = new KeptChild({
      ...this.#child("session-recorder", this.#recorderBoot()),
      onStatus: (status) => this.#onRecorderStatus(status),
      onLost: (cause) => this.#giveUp("recorder_lost", cause),
      // The frames are all there or never will be: nobody sends any more.
      onRestart: (child) => {
        if (this.#agentletGone !== "")
          child.command({ kind: "producer_lost", cause: this.#agentletGone });
      },
    });
    this.#runner = new KeptChild({
      ...this.#child("tool-runner", this.#runnerBoot()),
      onStatus: () => {},
      onLost: (cause) => this.#giveUp("agentlet_fault", cause),
    });
    // Both before the agentlet: no byte without a recorder, no call without a runner.
    await Promise.all([this.#recorder.ready, this.#runner.ready]);
    stop.throwIfAborted();

    let end: RunEnd | null = null;
    let fault: string | null = null;
    const ended = Promise.withResolvers<void>();
    const agentlet = new Child({
      ...this.#child("agentlet", this.#agentletBoot()),
      onStatus: (status) => {
        if (status.kind === "fault")
          fault = [status.message, status.fix].filter(Boolean).join("; ");
        if (status.kind !== "ended") return;
        end = status.end;
        ended.resolve();
      },
    });
    this.#agentlet = agentlet;
    // An agentlet that cannot build its zone says how the run ended instead of `ready`.
    await Promise.race([agentlet.ready, ended.promise]);
    this.#options.report({ kind: "started" });

    using _stopping = this.#stopOn(stop, agentlet);
    using _timeout = this.#killAtTimeout(agentlet);
    await Promise.race([agentlet.exited, ended.promise]);
    const timer = setTimeout(() => agentlet.kill(), EXIT_LIMIT_MS);
    const how = await agentlet.exited;
    clearTimeout(timer);
    this.#agentletGone = fault ?? `the agentlet ${how}`;
    if (end !== null) return end;
    this.#recorder.command({ kind: "producer_lost", cause: this.#agentletGone });
    return this.#lostEnd ?? faultEnd(this.#agentletGone, this.#options.logsDir);
  }

  /** Ends tool-runner and recorder, in this order; resolves with what the recorder sealed. */
  async close(): Promise<SealedRecording | null> {
    const { log } = this.#options;
    if (this.#agentlet !== null) {
      this.#agentlet.kill();
      await this.#agentlet.exited;
    }
    // First the calls end and their markers are written, then the recording is sealed.
    await this.#runner?.end(RUNNER_END_MS);
    const recorder = this.#recorder;
    if (recorder === null) return null;
    // Kept, because a recorder that is started again from here on must be told too.
    this.#agentletGone ||= "the run was not started";
    recorder.command({ kind: "producer_lost", cause: this.#agentletGone });
    const limit = new AbortController();
    const sealed = await Promise.race([
      recorder.gone.then(() => true),
      timers
        .setTimeout(SEAL_LIMIT_MS, false, { signal: limit.signal, ref: false })
        .catch(() => false),
    ]);
    limit.abort();
    if (!sealed) log.error("recorder did not seal in time");
    await recorder.end(EXIT_LIMIT_MS);
    return this.#recording;
  }

  #lostEnd: RunEnd | null = null;

  /** Recorder or tool-runner cannot be kept alive: the run ends, and says why. */
  #giveUp(reason: "recorder_lost" | "agentlet_fault", cause: string): void {
    this.#options.log.error({ reason, cause }, "run is ended");
    this.#lostEnd = { ...faultEnd(cause, this.#options.logsDir), reason };
    this.#agentlet?.command({ kind: "stop", reason });
    this.#killLater();
  }

  #stopOn(stop: AbortSignal, agentlet: Child): Disposable {
    const onStop = (): void => {
      this.#lostEnd ??= cancelledEnd(stop, "running");
      agentlet.command({ kind: "stop", reason: "cancelled" });
      this.#killLater();
    };
    if (stop.aborted) onStop();
    else stop.addEventListener("abort", onStop, { once: true });
    return { [Symbol.dispose]: () => stop.removeEventListener("abort", onStop) };
  }

  /** The agentlet ends its run at its timeout; one that hangs does not. */
  #killAtTimeout(agentlet: Child): Disposable {
    const { spec, log, logsDir } = this.#options;
    const { timeoutMs } = spec.agent;
    if (timeoutMs === null) return { [Symbol.dispose]: () => undefined };
    const limitMs = Math.min(timeoutMs + TIMEOUT_GRACE_MS, MAX_TIMER_MS);
    const timer = setTimeout(() => {
      const cause = `The agentlet did not end the run at its timeout of ${timeoutMs} ms, and was killed`;
      this.#lostEnd ??= { ...faultEnd(cause, logsDir), reason: "timed_out" };
      log.error({ limitMs }, "agentlet killed, it outlived the run's timeout");
      agentlet.kill();
    }, limitMs);
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  }

  #killLater(): void {
    const { log } = this.#options;
    setTimeout(() => {
      log.error({ limitMs: STOP_LIMIT_MS }, "agentlet killed, it did not stop");
      this.#agentlet?.kill();
    }, STOP_LIMIT_MS).unref();
  }

  #onRecorderStatus(status: ChildStatus): void {
    if (status.kind !== "sealed") return;
    this.#recording = status.recording;
    this.#recorder?.mayEnd();
  }

  #child(verb: ChildOptions["verb"], boot: unknown): Omit<ChildOptions, "onStatus"> {
    const { self, env, specPath, logsDir, log } = this.#options;
    return { verb, boot, self, env, specPath, logPath: join(logsDir, `${verb}.log`), log };
  }

  #recorderBoot(): RecorderBoot {
    const { tokens, prepared } = this.#options;
    const { zoneModelKey } = prepared;
    return {
      recorderToken: tokens.recorder,
      agentletToken: tokens.agentlet,
      runnerToken: tokens.runner,
      signingSeed: tokens.recordingKey.seed(),
      zoneSecrets: zoneModelKey === null ? [] : [zoneModelKey.toString("base64")],
    };
  }

  #runnerBoot(): RunnerBoot {
    const { tokens, prepared } = this.#options;
    return {
      runnerToken: tokens.runner,
      agentToken: tokens.agent,
      secrets: Object.fromEntries(
        [...prepared.toolSecrets].map(([id, value]) => [id, value.toString("base64")]),
      ),
      modelKey: prepared.modelKey?.toString("base64") ?? null,
      sources: prepared.secretSources,
      auditKey: tokens.auditKey.toString("base64"),
      signingSeed: tokens.signing.seed(),
    };
  }

  #agentletBoot(): AgentletBoot {
    const { tokens, prepared } = this.#options;
    const modelKey = prepared.zoneModelKey?.toString("base64");
    return {
      agentletToken: tokens.agentlet,
      agentToken: tokens.agent,
      ...(modelKey === undefined ? {} : { modelKey }),
    };
  }
}

/** The recorder removes its spool once it is verified; an empty directory may be left by a run that never recorded. */
function removeEmpty(dir: string): void {
  try {
    rmdirSync(dir);
  } catch {
    // Gone already, or holding a recording that nobody has verified.
  }
}
