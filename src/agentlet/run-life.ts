import { setTimeout as delay } from "node:timers/promises";
import type { ProgramExit } from "../kit/init-channel.ts";
import type { Log } from "../kit/log.ts";
import { PlatformError, messageOf } from "../kit/platform-error.ts";
import type { AgentletEvent } from "../protocol/agentlet-link.ts";
import { lastWordsSaid } from "../protocol/last-words.ts";
import { endOfRefusal, type RunEnd } from "../protocol/outcome.ts";
import type { AgentletBoot, RunSpec } from "../protocol/run-spec.ts";
import { ClaimBudget } from "./claim-budget.ts";
import { endOfStop, exitStatusOf } from "./exit.ts";
import { LiveTerminal } from "./live-terminal.ts";
import { ManagerLink } from "./manager-link.ts";
import { driverOf } from "./drivers/registry.ts";
import { type PodFacts, podReady, weaknessOfImage } from "./pod-ready.ts";
import { RecorderLink } from "./recorder-link.ts";
import { Approver } from "./states/approver.ts";
import { machineClock } from "./states/clock.ts";
import { EvidenceLog } from "./states/evidence.ts";
import { Interaction } from "./states/interaction.ts";
import { RunStates } from "./states/run-states.ts";
import { Shells } from "./shells.ts";
import type { StopWish } from "./stop.ts";
import { runInZone } from "./zone-life.ts";
import type { ZoneRedaction } from "./zone-redaction.ts";

export interface RunParts {
  spec: RunSpec;
  boot: AgentletBoot;
  redaction: ZoneRedaction;
  /** the node program that zone A gets for its shims */
  nodePath: string;
  /** null: not in a pod */
  pod: PodFacts | null;
  stop: StopWish;
  log: Log;
}

/** How the program ended, and what that means for the run. */
export interface ProgramEnd {
  end: RunEnd;
  exit: ProgramExit;
}

/** What the rooms of a run share while it lives. */
export interface RunContext extends RunParts {
  recorder: RecorderLink;
  terminal: LiveTerminal;
  shells: Shells;
  states: RunStates;
  interaction: Interaction;
  evidence: EvidenceLog;
  emit: (event: AgentletEvent) => void;
  notice: (message: string) => void;
  /** pauses and resumes the terminal of the running program */
  valve: { full: boolean; onChange: ((full: boolean) => void) | null };
}

const RECORDER_START_MS = 15_000;
const FULL_NOTICE_MS = 2000;
const LAST_EVENTS_MS = 5000;

/** Runs one Agent to its end, with every byte at the recorder. Never rejects: whatever goes wrong is an end. */
export async function runAgent(parts: RunParts): Promise<RunEnd> {
  const { spec, boot, redaction, stop, log } = parts;
  const startedAt = performance.now();
  const valve: RunContext["valve"] = { full: false, onChange: null };
  let fullTimer: NodeJS.Timeout | undefined;

  await using recorder = new RecorderLink({
    socket: spec.sockets.recorder,
    token: boot.agentletToken,
    clock: () => Math.round((performance.now() - startedAt) * 1000),
    log,
    onFull: (full) => {
      valve.full = full;
      valve.onChange?.(full);
      clearTimeout(fullTimer);
      if (!full) return;
      const message =
        "The terminal waits: the recorder has not made the last 16 MiB durable yet; look at the disk of the spool";
      fullTimer = setTimeout(() => notice(message), FULL_NOTICE_MS);
    },
  });
  using terminal = new LiveTerminal({
    size: spec.terminal,
    redaction: redaction.set,
    recorder,
    recordInput: spec.agent.recordInput,
    namespaces: spec.zone.kind === "none" ? 0 : 1,
    onScreen: () => states.screenChanged(),
    onPersonTypes: (bytes, window, deliver) => interaction.lease.person(bytes, window, deliver),
    onPasteEnded: (message) => notice(message),
    onRefusedInput: () =>
      notice("The program does not read its input; what was typed is not taken until it does"),
  });
  redaction.watch((set) => {
    terminal.redact(set);
    shells.redact(set);
  });
  await using manager = new ManagerLink({
    manager: spec.manager,
    run: spec.run,
    token: boot.agentletToken,
    epoch: spec.epoch,
    log,
    onWire: (wire) => {
      terminal.useWire(wire);
      shells.useWire(wire);
    },
    onCommand: (command) => {
      if (command.kind === "stop") stop.wish("cancelled", `Stopped by ${command.by}`);
      else if ("attach" in command) terminal.handle(command);
      else if ("request" in command) void interaction.handle(command);
      else shells.handle(command);
    },
  });
  const claims = new ClaimBudget();
  const emit = (event: AgentletEvent) => {
    for (const told of claims.tell(redaction.mask(event))) {
      manager.event(told);
      // Where it happened in the recording; the exit has an event of its own there.
      if (told.type === "state" && told.state !== "exited")
        recorder.marker(`state ${told.state}: ${told.evidence}`);
    }
  };
  const notice = (message: string) => {
    log.info({ notice: redaction.mask(message) }, "notice given");
    emit({ type: "notice", time: new Date().toISOString(), message: message.slice(0, 4096) });
  };
  const shells = new Shells({
    recorderSocket: spec.sockets.recorder,
    agentletToken: boot.agentletToken,
    recordInput: spec.agent.recordInput,
    redaction: () => redaction.set,
    log,
    emit,
  });
  const rules = spec.agent.mode === "supervised" ? driverOf(spec.agent.runtime).rules : null;
  const evidence = new EvidenceLog(machineClock);
  using states = new RunStates({
    run: spec.run,
    rules,
    view: () => terminal.view(),
    hasWriter: () => terminal.hasWriter,
    outputOffset: () => terminal.outputOffset,
    screenOffset: () => terminal.screenOffset,
    emit,
  });
  await using interaction = new Interaction({
    states,
    rules,
    clock: machineClock,
    view: () => terminal.view(),
    type: (bytes) => terminal.type(bytes),
    stranger: () => terminal.stranger,
    hasReadInput: () => terminal.hasReadInput,
    outputOffset: () => terminal.outputOffset,
    emit,
    isPasting: () => terminal.isPasting,
    onHands: (hands, before) => {
      const { outputOffset } = terminal;
      emit({ type: "input", time: new Date().toISOString(), ...hands, outputOffset });
      const other = before?.hands === "person" ? " at another window" : "";
      const who = hands.hands === "person" ? `a person${other}` : "automation";
      recorder.marker(`agentkube: the keyboard is in the hands of ${who}`);
    },
  });
  using _approver = new Approver({
    states,
    interaction,
    clock: machineClock,
    approvals: spec.agent.approvals,
    timeoutMs: spec.agent.approvalTimeoutMs,
    hasWriter: () => terminal.hasWriter,
    notice,
  });
  void recorder.lost.then((error) => stop.wish("recorder_lost", messageOf(error)));
  void recorder.spoolFull.then(() => stop.wish("recorder_lost", SPOOL_FULL));

  const context = {
    ...parts,
    recorder,
    terminal,
    shells,
    states,
    interaction,
    evidence,
    emit,
    notice,
    valve,
  };
  const program = await runProgram(context);
  // Also those that wait for a program that did not start.
  await shells.close("the run is over");
  await interaction.close();
  const end = redaction.mask(await sealRecording(recorder, program));
  clearTimeout(fullTimer);
  states.process("exited", `${end.outcome}, ${end.reason}`);
  emit({ type: "ended", time: new Date().toISOString(), end });
  await terminal.finish("The run is over");
  if (!(await manager.flush(LAST_EVENTS_MS)))
    log.warn("manager did not take the last events in time");
  log.info({ outcome: end.outcome, reason: end.reason, exitCode: end.exitCode }, "run ended");
  return end;
}

const SPOOL_FULL =
  "The recorder's spool is full: spec.recording.quota is used up by this session's recording (a longer one needs more), or its disk is and spec.recording.whenFull is terminate; the recording says how much it lacks";

/** From the recorder's welcome to the end of zone A. Never rejects. */
async function runProgram(context: RunContext): Promise<ProgramEnd> {
  const { stop, log, recorder } = context;
  const never: ProgramExit = { kind: "lost" };
  let isRecorded = false;
  try {
    await recorderReady(context);
    isRecorded = true;
    const weakness = await readyInPod(context);
    const program = await runInZone(context);
    return weakness === null ? program : { ...program, end: blaming(program.end, weakness) };
  } catch (error) {
    log.error({ err: error }, "run could not start or could not be ended in order");
    const end =
      stop.stop === null ? endOfRefusal(error) : endOfStop(stop.stop.reason, stop.stop.cause, null);
    recorder.marker(`agentkube: ${end.detail?.cause ?? end.reason}`);
    // A recorder that could not come to the beginning is not waited for at the end; the manager has the refusal.
    if (!isRecorded && stop.stop === null) recorder.giveUp();
    return { end, exit: never };
  }
}

/** Nothing starts before the recorder can take its bytes. */
async function recorderReady({ spec, pod, recorder, stop }: RunContext): Promise<void> {
  const over = new AbortController();
  const { signal } = over;
  const never = new Promise<never>(() => undefined);
  const said =
    pod === null ? never : lastWordsSaid(spec.sockets.recorder, signal).catch(() => never);
  const late = delay(RECORDER_START_MS, undefined, { signal }).then(
    () =>
      new PlatformError("recorder_lost", `Recorder did not answer within ${RECORDER_START_MS} ms`, {
        fix: "look into the session-recorder's log of the run",
      }),
    () => never,
  );
  const first = await Promise.race([
    recorder.welcomed.then(() => "ready" as const),
    recorder.lost,
    stop.wished.then(() => "stopped" as const),
    said,
    late,
  ]);
  over.abort();
  if (first === "ready") return;
  if (first === "stopped") throw new Error("The run was stopped before its recorder answered");
  throw first;
}

/** Waits for what a run needs of its pod. Returns what will make it fail if it fails; it is said at once. */
async function readyInPod({ spec, pod, stop, notice }: RunContext): Promise<string | null> {
  if (pod === null) return null;
  const over = new AbortController();
  void stop.wished.then(({ cause }) => over.abort(new Error(cause)));
  over.signal.throwIfAborted();
  await podReady(spec, pod, over.signal);
  const weakness = weaknessOfImage(spec, pod);
  if (weakness !== null) notice(weakness);
  return weakness;
}

/** A program that failed without our knowing why may have failed for this. */
function blaming(end: RunEnd, weakness: string): RunEnd {
  const isUnexplained = end.outcome === "failed" && end.detail === undefined;
  return isUnexplained ? { ...end, detail: { cause: weakness } } : end;
}

/** An end whose record is not durable is not the end that the program gave. */
async function sealRecording(recorder: RecorderLink, { end, exit }: ProgramEnd): Promise<RunEnd> {
  const sealed = await recorder.exit(exitStatusOf(end, exit));
  if (sealed === "sealed" || end.outcome === "refused" || end.reason === "recorder_lost")
    return end;
  const error = await recorder.lost;
  const cause = `${messageOf(error)}; the program's own end was: ${end.outcome}, ${end.reason}`;
  return endOfStop("recorder_lost", cause, exit);
}
