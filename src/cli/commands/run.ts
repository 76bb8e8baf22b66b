import { text } from "node:stream/consumers";
import timers from "node:timers/promises";
import { isGone } from "../../kit/process-alive.ts";
import { shellWord } from "../../kit/shell-word.ts";
import { ExitCode } from "../../protocol/outcome.ts";
import { findManager } from "../client.ts";
import { dataOption, defineCommand, type CommandContext } from "../command.ts";
import { dataWords, resolveDataDir } from "../data-dir.ts";
import { ensureManager } from "../ensure-manager.ts";
import { UsageError, type Output } from "../output.ts";
import { pourRecording } from "../plain-output.ts";
import {
  exitCodeOfEnding,
  refusedExitCode,
  refusedResult,
  resultOf,
  sayEnding,
  waitForEnding,
} from "../run-ending.ts";
import { findRun, type KnownRun } from "../run-files.ts";
import { startSupervisor, type SupervisorProcess } from "../supervisor-process.ts";
import { Stopping } from "../stopping.ts";
import type { SupervisorRequest } from "../supervisor-request.ts";
import { KEYS, viewTerminal } from "../viewer.ts";

/** The terminal of a run that nobody looks at. */
const HEADLESS = { cols: 120, rows: 40 } as const;
/** How long the manager may take to close a run whose supervisor was killed. */
const ADOPTION_LIMIT_MS = 90_000;
const MANAGER_EXIT_MS = 2000;

const options = {
  runtime: {
    type: "string",
    value: "R",
    help: "run this runtime without a manifest: ClaudeCode, Codex, OpenCode, …",
  },
  goal: {
    type: "string",
    value: "TEXT",
    help: "what the agent is to do; wins over the manifest's",
  },
  resume: {
    type: "string",
    value: "RUN",
    help: "go on with the CLI's session of that run; without FILE and --runtime, with its runtime",
  },
  secret: {
    type: "string",
    multiple: true,
    value: "NAME/KEY=SOURCE",
    help: "a secret: @FILE, env:VAR or exec:COMMAND (one line break at the end is removed)",
  },
  "model-endpoint": { type: "string", value: "URL", help: "send model requests there" },
  workspace: {
    type: "string",
    value: "DIR",
    help: "what the agent works on, writable (default: this directory)",
  },
  data: dataOption,
  port: { type: "string", value: "N", help: "port of the page on 127.0.0.1 (default: any)" },
  detach: { type: "boolean", help: "print the run's id and return; the run goes on" },
} as const;

/** `agentkube run`: starts a supervisor and watches the run. Killing it detaches. */
export const command = defineCommand({
  name: "run",
  summary: "run an Agent here, from manifests or from --runtime and --goal",
  usage: [
    "run FILE… [--secret NAME/KEY=SOURCE]… [--workspace DIR] [--detach] [--json]",
    "run --runtime R --goal TEXT --secret agent-token/token=SOURCE",
    "run --resume RUN [FILE…] [--goal TEXT] [--secret NAME/KEY=SOURCE]…",
  ],
  description:
    "FILE holds YAML documents: one Agent, and the Tools, Secrets and ConfigMaps it refers to; - is standard input.\n" +
    `In a terminal: ${KEYS}. Ctrl-C belongs to the program.\n` +
    "Without one the program's output goes to stdout, Ctrl-C stops the run, and it ends after 30m unless spec.timeout is set.\n" +
    "Exit code: 0 succeeded; the program's own code, or 128+n for a signal; 124 timed out; 130 cancelled; 3 refused;\n" +
    "2 invalid manifest; 1 any other failure, or a recording that is not verified.",
  examples: [
    {
      command: "agentkube run agent.yaml tool.yaml --secret github-token/token=@token.txt",
      does: "runs the Agent of agent.yaml on this directory",
    },
    {
      command:
        'agentkube run --runtime ClaudeCode --goal "Fix the failing test" --secret agent-token/token=env:ANTHROPIC_API_KEY',
      does: "runs Claude Code; the key never enters its sandbox",
    },
    {
      command:
        'agentkube run --resume claude-code-7f3k2m9q --goal "Now the docs" --secret agent-token/token=env:ANTHROPIC_API_KEY',
      does: "a new run that remembers what was said in the older one",
    },
  ],
  options,
  positionals: { min: 0, max: 256 },
  run: async (context) => {
    const { output } = context;
    const isAttended = output.interactive && !output.json && context.values.detach !== true;
    const request = await requestOf(context, isAttended);
    const supervisor = startSupervisor(request, context, (message) => output.note(message));
    using stopping = new Stopping(context, supervisor, isAttended);
    let known: KnownRun;
    try {
      const { run } = await supervisor.registered;
      known = await findRun(request.dataDir, run);
      stopping.watch(request.dataDir, run);
      if (context.values.detach === true) await supervisor.started;
    } catch (error) {
      await supervisor.exited;
      return refuse(error, supervisor, stopping, output);
    }
    if (context.values.detach === true) return detached(known, supervisor, output);
    const manager = await findManager(request.dataDir);
    // Only a person at a terminal is shown the token in the link; what a program reads ends up in logs.
    const page =
      (output.interactive && !output.json
        ? manager?.linkOf(known.info.run)
        : manager?.pageOf(known.info.run)) ?? null;
    if (isAttended) {
      output.note(`run ${known.info.run}  ${KEYS}`);
      if (page !== null) output.note(`page ${page}`);
    }
    const isWatched = await watch(context, known, supervisor, stopping, isAttended);
    if (!isWatched) {
      supervisor.leave();
      if (stopping.problem !== null) output.note(stopping.problem);
      output.note(
        `detached; run ${known.info.run} goes on: agentkube attach ${known.info.run} --write${dataWords(request.dataDir, context.env, context.cwd)}`,
      );
      return stopping.exitCode;
    }
    return await finish(context, known, supervisor, request.dataDir, page);
  },
});

type RunContext = CommandContext<typeof options>;

async function requestOf(context: RunContext, attended: boolean): Promise<SupervisorRequest> {
  const { values, positionals, output, env, cwd, stdin } = context;
  const { columns = 0, rows = 0 } = output.stdout;
  const isKnown = columns > 0 && rows > 0 && columns <= 1000 && rows <= 1000;
  return {
    cwd,
    dataDir: resolveDataDir(values.data, env, cwd),
    workspace: values.workspace ?? cwd,
    files: [...positionals],
    stdin: positionals.includes("-") ? await text(stdin) : null,
    runtime: values.runtime ?? null,
    goal: values.goal ?? null,
    resume: values.resume ?? null,
    modelEndpoint: values["model-endpoint"] ?? null,
    secrets: [...(values.secret ?? [])],
    port: portOf(values.port),
    terminal: attended && isKnown ? { cols: columns, rows } : HEADLESS,
    attended,
  };
}

function portOf(given: string | undefined): number | null {
  if (given === undefined) return null;
  const port = Number(given);
  if (/^[0-9]{1,5}$/.test(given) && port <= 65_535) return port;
  throw new UsageError(`Option --port expects a number from 0 to 65535, got "${given}"`);
}

/** Shows the run until it has ended. False when the person left it. */
async function watch(
  context: RunContext,
  known: KnownRun,
  supervisor: SupervisorProcess,
  stopping: Stopping,
  isAttended: boolean,
): Promise<boolean> {
  const { output, stdin } = context;
  const gone = new AbortController();
  let hasExited = false;
  const exited = supervisor.exited.then(() => {
    hasExited = true;
    // The last output is on its way to the terminal for a moment longer than the supervisor lives.
    if (isAttended) setTimeout(() => gone.abort(), 1000).unref();
  });
  const left = new Promise<boolean>((resolve) =>
    stopping.leaving.signal.addEventListener("abort", () => resolve(false), { once: true }),
  );
  if (isAttended) {
    const dataDir = known.dir.slice(0, -`/runs/${known.info.run}`.length);
    const viewing = viewTerminal(
      {
        run: known.info.run,
        write: true,
        stdin,
        stdout: output.stdout,
        from: 0,
        findManager: () => findManager(dataDir),
        onStop: () => stopping.stop(),
      },
      AbortSignal.any([gone.signal, stopping.leaving.signal]),
    );
    const result = await viewing;
    if (result.kind === "closed")
      output.note(`the terminal is not shown here any more: ${result.reason}`);
    if (result.kind !== "ended" || stopping.leaving.signal.aborted) return false;
  } else if (!output.json) {
    const pouring = pourRecording(
      known.castPath,
      output.stdout,
      () => Promise.resolve(!hasExited),
      stopping.leaving.signal,
    );
    const poured = pouring.then(
      () => true,
      async (error: unknown) =>
        stopping.leaving.signal.aborted ? await left : Promise.reject(error),
    );
    if (!(await Promise.race([poured, left]))) return false;
  }
  return await Promise.race([exited.then(() => true), left]);
}

/** The run is over and its supervisor gone: says how it ended, and lets the manager go. */
async function finish(
  context: RunContext,
  known: KnownRun,
  supervisor: SupervisorProcess,
  dataDir: string,
  page: string | null,
): Promise<number> {
  const { output, self, env } = context;
  const never = new AbortController().signal;
  await supervisor.exited;
  const { info: seen } = await findRun(dataDir, known.info.run);
  // Whoever killed the supervisor may have killed the manager too; only a manager can close the run then.
  if (seen.phase !== "ended") await ensureManager({ dataDir, self, env, port: null }, never);
  const info = await waitForEnding(known, ADOPTION_LIMIT_MS, never);
  const isServing = await letManagerGo(dataDir);
  if (output.json) output.document(resultOf(info, known.castPath, page));
  else {
    const servedBy = isServing ? null : `agentkube manager --data ${shellWord(dataDir)}`;
    const paths = { recording: known.castPath, dataWords: dataWords(dataDir, env, context.cwd) };
    sayEnding(info, paths, page === null ? null : { url: page, servedBy }, output);
  }
  return exitCodeOfEnding(info);
}

function refuse(
  error: unknown,
  supervisor: SupervisorProcess,
  { isAsked: wasStopped, hasKilled }: Stopping,
  output: Output,
): number {
  if (output.json) {
    output.document(refusedResult(error, supervisor.agent, wasStopped));
  } else if (wasStopped) {
    output.note(
      hasKilled
        ? "cancelled before the run was started; its supervisor did not answer and was killed"
        : "cancelled before the run was started",
    );
  } else {
    output.fail(error);
  }
  return wasStopped ? ExitCode.cancelled : refusedExitCode(error);
}

function detached(known: KnownRun, supervisor: SupervisorProcess, output: Output): number {
  const { run, agent } = known.info;
  supervisor.leave();
  if (output.json) output.document({ run, agent, detached: true });
  else output.line(run);
  return ExitCode.done;
}

/** Asks the manager to end when nothing is live and nobody watches, and waits a moment for it. True when it stays. */
async function letManagerGo(dataDir: string): Promise<boolean> {
  const manager = await findManager(dataDir);
  if (manager === null) return false;
  const willExit = await manager.shutdownIfIdle().catch(() => false);
  if (!willExit) return true;
  const deadline = performance.now() + MANAGER_EXIT_MS;
  while (performance.now() < deadline) {
    if (isGone(manager.pid, null)) return false;
    await timers.setTimeout(20);
  }
  return true;
}
