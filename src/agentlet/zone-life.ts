import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Sandbox } from "../kit/sandbox.ts";
import type { StartedProgram } from "../kit/started-programs.ts";
import type { Driver, Gateway, Judge, Launch } from "./drivers/driver.ts";
import { driverOf } from "./drivers/registry.ts";
import { endOfProgram, endOfStop, startFailureOf } from "./exit.ts";
import { openGatewayRelay } from "./gateway-relay.ts";
import type { GatewayRelay } from "./gateway-relay.ts";
import { startHeartbeat } from "./heartbeat.ts";
import { copyOwnOutput } from "./own-output.ts";
import { PtySession } from "./pty-session.ts";
import { openZone } from "./open-zone.ts";
import { openReportSocket } from "./report-socket.ts";
import type { RunSpec } from "../protocol/run-spec.ts";
import type { ProgramEnd, RunContext } from "./run-life.ts";
import { stopProgram } from "./stop.ts";
import { ClaimPace } from "./states/claim-pace.ts";
import { machineClock } from "./states/clock.ts";
import type { ToolClaim } from "./states/evidence.ts";
import { RunSession } from "./sessions/run-session.ts";
import { type TranscriptGrowth, watchTranscript } from "./transcript-growth.ts";
import { GATEWAY_PORT, zoneEnv } from "./zone.ts";
import { REPORT_SOCKET } from "./drivers/hooks.ts";

export const RESULT_LIMITS = {
  /** how long a CLI may stay after it said its result */
  leaveMs: 10_000,
};
const NO_TOOL: ToolClaim = { ended: true };
/** How often a CLI that is idle, and then not ready for it, is given its goal. */
const GOAL_TRIES = 3;

/** Opens zone A, runs the CLI in it to its end and closes it: nothing of it is left. Throws when zone A cannot be had. */
export async function runInZone(context: RunContext): Promise<ProgramEnd> {
  const { spec, boot, stop } = context;
  const driver = driverOf(spec.agent.runtime);
  const stopping = new AbortController();
  void stop.wished.then(({ cause }) => stopping.abort(new Error(cause)));
  stopping.signal.throwIfAborted();
  // In the host's network the relay listens by itself, on a port that the CLI must be told.
  await using hostRelay =
    spec.zone.network === "host" ? await openGatewayRelay(null, spec.sockets.runner) : null;
  const url = `http://127.0.0.1:${hostRelay?.port ?? GATEWAY_PORT}`;
  const { agentToken, modelKey } = boot;
  const gateway: Gateway = {
    url,
    agentToken,
    ...(modelKey === undefined ? {} : { modelKey: Buffer.from(modelKey, "base64").toString() }),
  };
  const launch = driver.prepare({ spec, gateway, resume: spec.resume?.session ?? null });
  const session = new RunSession(context, driver);
  using pace = new ClaimPace({
    clock: machineClock,
    standing: () => context.states.standing,
    signal: (signal) => context.states.signal(signal),
  });
  await using report = await openReportSocket(
    spec.zone.kind === "none" ? REPORT_SOCKET : join(spec.runtimeDir, "report.sock"),
    (said) => {
      session.told(said);
      const signal = driver.signalOf?.(said) ?? null;
      const tool = signal?.endsTurn === true ? NO_TOOL : (driver.toolOf?.(said) ?? null);
      context.evidence.report(said, tool);
      if (signal !== null) pace.take(signal);
    },
    context.log,
  );
  const parts = { files: launch.files, nodePath: context.nodePath, reportSocket: report.path };
  await using sandbox = await openZone(context, parts, stopping.signal);
  await using _relay = hostRelay === null ? await zoneRelay(sandbox, spec.sockets.runner) : null;
  await session.restore(sandbox);
  const ended = await runInSandbox(context, driver, sandbox, launch, gateway);
  await session.keep(sandbox);
  return ended;
}

async function zoneRelay(sandbox: Sandbox, runnerSocket: string): Promise<GatewayRelay> {
  const listener = sandbox.listeners.get(GATEWAY_PORT);
  if (listener === undefined) throw new Error("Zone A came up without its gateway listener");
  // The relay owns the descriptor from here on.
  sandbox.listeners.delete(GATEWAY_PORT);
  return await openGatewayRelay(listener, runnerSocket);
}

async function runInSandbox(
  context: RunContext,
  driver: Driver,
  sandbox: Sandbox,
  launch: Launch,
  gateway: Gateway,
): Promise<ProgramEnd> {
  const { spec, states, shells } = context;
  const [program = ""] = launch.argv;
  const env = zoneEnv(spec, gateway, launch.env, context.pod?.imageEnv);
  await using transcript = await watchTranscript(sandbox, driver, context.log);
  const judge = driver.openJudge(spec);
  let started: StartedProgram;
  try {
    started = await sandbox.start({
      argv: launch.argv,
      cwd: spec.zone.workspace,
      env,
      ...spec.terminal,
      // Every process of the zone can write to the terminal: a result is what the CLI says on its own output.
      outputApart: judge !== null,
    });
  } catch (error) {
    const exit = startFailureOf(error);
    if (exit === null) throw error;
    return { exit, end: endOfProgram(exit, program, spec.zone.kind) };
  }
  states.process("starting", "the program has started");
  shells.useZone({
    start: (request) => sandbox.start({ ...request, cwd: spec.zone.workspace, env }),
  });
  if (launch.prompt !== undefined) void giveGoal(context, launch.prompt);
  const { exit, stopped } = await followProgram(context, sandbox, started, {
    judge,
    transcript,
  });
  await shells.close("the run is over");
  if (stopped !== null && stopped !== "hung_after_result") {
    const cause = context.stop.stop?.cause ?? stopped;
    return { exit, end: endOfStop(stopped, cause, exit) };
  }
  const verdict = judge?.verdict(exit, stopped !== null) ?? null;
  return { exit, end: verdict ?? endOfProgram(exit, program) };
}

/** Tries to give the goal, for a CLI that takes none at its start. Never rejects. */
async function giveGoal({ states, interaction, notice, spec }: RunContext, goal: string) {
  for (let tries = 1; tries <= GOAL_TRIES; tries++) {
    await states.becomes("idle");
    const phase = await interaction.prompt({ request: null, by: "spec.goal" }, goal);
    if (phase === "done") return;
    // What was typed is never typed again.
    if (phase === "unconfirmed") break;
  }
  notice(`The CLI may not have its goal; look, and give it: agentkube prompt ${spec.run} GOAL`);
}

/** From the first byte to the last. `stopped`: why we ended the program; null when it ended by itself. */
async function followProgram(
  context: RunContext,
  sandbox: Sandbox,
  started: StartedProgram,
  { judge, transcript }: { judge: Judge | null; transcript: TranscriptGrowth | null },
) {
  const { spec, stop, terminal, interaction, recorder, valve, notice } = context;
  const over = new AbortController();
  const after = (ms: number, then: () => void) => {
    void delay(ms, undefined, { signal: over.signal }).then(then, () => undefined);
  };
  if (judge !== null) {
    const followResult = (): void => {
      const { result } = judge;
      void result.then(() =>
        after(RESULT_LIMITS.leaveMs, () => {
          if (judge.result !== result) return followResult();
          stop.wish(
            "hung_after_result",
            `The CLI gave its result and did not leave within ${RESULT_LIMITS.leaveMs} ms`,
          );
        }),
      );
    };
    followResult();
  }
  const { exited, output } = started;
  const copied =
    output === null
      ? null
      : copyOwnOutput(output, exited, (bytes) => judgeBytes(context, judge, bytes));
  const pty = new PtySession({
    // For the terminal it has ended once all that it wrote is there.
    program:
      copied === null ? started : { ...started, exited: copied.then(async () => await exited) },
    size: terminal.size,
    onOutput: (bytes) => terminal.output(bytes),
    onRefusedInput: (bytes) =>
      notice(
        `A line of input was not typed (${bytes} bytes of it): the program reads lines, and a terminal's line holds 4,095 bytes`,
      ),
  });
  terminal.use(pty);
  valve.onChange = (full) => (full ? pty.pause() : pty.resume());
  if (valve.full) pty.pause();
  // A recorder that is lost takes no byte any more: the terminal is read on, so that the program can be ended.
  void recorder.lost.then(() => pty.resume());
  using _heartbeat = startHeartbeat({
    pid: sandbox.pid,
    memoryBytes: spec.zone.memoryBytes,
    outputOffset: () => terminal.outputOffset,
    evidence: () => context.evidence.now,
    transcript,
    isBusy: () => context.states.standing.state === "busy",
    onWork: () => context.states.works(),
    onStalled: (silentMs) =>
      stop.wish(
        "stalled",
        `The CLI says that it is busy, and for ${Math.round(silentMs / 60_000)} min it has written nothing, said nothing, used no tool and next to no CPU`,
      ),
    onHeartbeat: context.emit,
    onMemoryExceeded: (used) =>
      stop.wish(
        "out_of_memory",
        `Zone A used ${mebibytes(used)} of memory; spec.limits.memory is ${mebibytes(spec.zone.memoryBytes)}`,
      ),
  });
  const { timeoutMs } = spec.agent;
  if (timeoutMs !== null)
    after(timeoutMs, () =>
      stop.wish("timed_out", `The run took longer than its timeout of ${timeoutMs} ms`),
    );

  const wish = await Promise.race([started.exited.then(() => null), stop.wished]);
  if (wish !== null) {
    await stopProgram(
      {
        exited: started.exited,
        type: (bytes) => pty.write(bytes),
        signalAll: (signal) => sandbox.signalAll(signal),
        kill: () => sandbox.kill(),
        keys: leavingKeysOf(spec),
        idle: async () => await context.states.becomes("idle"),
      },
      wish.reason,
    );
  }
  over.abort();
  recorder.hurry();
  const { exit, terminalHeld } = await pty.ended;
  await interaction.close();
  if (terminalHeld)
    notice("A process that the program left behind still had the terminal open; it is ended now");
  terminal.use(null);
  valve.onChange = null;
  return { exit, stopped: wish?.reason ?? null };
}

/** What cannot be read says nothing: then the run has no result, which is a failure of its own. */
function judgeBytes({ log }: RunContext, judge: Judge | null, bytes: Buffer): void {
  try {
    judge?.push(bytes);
  } catch (error) {
    log.warn({ err: error }, "output of the CLI could not be judged");
  }
}

/** How the CLI of a run is asked to go; null for any program, and for one without a screen of its own. */
function leavingKeysOf({ agent }: RunSpec): { interrupt: string; quit: string } | null {
  const { rules } = driverOf(agent.runtime);
  if (agent.mode !== "supervised" || rules?.quitKeys === undefined) return null;
  return { interrupt: rules.interruptKeys ?? "\x1b", quit: rules.quitKeys };
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 1024 / 1024)} MiB`;
}
