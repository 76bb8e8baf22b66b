import { closeSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseJson, writeJsonLine } from "../kit/json-lines.ts";
import { openLog, type Log } from "../kit/log.ts";
import { native } from "../kit/native.ts";
import { createRunId } from "../protocol/ids.ts";
import type { RunSpec, RunTool } from "../protocol/run-spec.ts";
import { PROTOCOL } from "../protocol/version.ts";
import type { CommandContext, CommandOptions } from "./command.ts";
import { openManagerLink, type ManagerLink } from "./manager-link.ts";
import { errorFacts } from "../kit/platform-error.ts";
import { exitCodeOf } from "./output.ts";
import { prepareRun, type PreparedRun } from "./prepare-run.ts";
import { mintTokens, type RunTokens } from "./run-tokens.ts";
import { openRuntimeDir } from "./runtime-dir.ts";
import { storeTool } from "./store-tools.ts";
import { pinStore } from "../tool-runner/store-pin.ts";
import { superviseRun } from "./supervise-run.ts";
import { refuseUnusable } from "./tool-checks.ts";
import { SupervisorRequest, type SupervisorReport } from "./supervisor-request.ts";

const MAX_REQUEST_BYTES = 64 * 1024 * 1024;

/**
 * The supervisor of one run: reads what to run from standard input, checks it, registers it, starts its three programs, and
 * stays until nothing of the run is left. Says `SupervisorReport` lines; a refusal leaves nothing behind.
 */
export async function main(context: CommandContext<CommandOptions>): Promise<number> {
  const { env, self } = context;
  const report = (message: SupervisorReport): void => writeJsonLine(process.stdout, message);
  // `run` may be gone, and with it the ends of both pipes: the run goes on.
  context.onOutputError(() => {});
  const stopping = new AbortController();
  const stopListening = context.onSignal((signal) => {
    if (signal !== "SIGHUP") stopping.abort(signal);
  });
  let agent: string | null = null;
  try {
    native().hideProcess();
    const request = await readRequest(context.stdin);
    const stopWatching = abortWhenLeft(context.stdin, stopping);
    using runtimeDir = openRuntimeDir(env);
    const outside = { env, self, runtimeDir: runtimeDir.path };
    const prepared = await prepareRun(request, outside, stopping.signal);
    agent = prepared.agent.metadata.name;
    for (const message of prepared.notes) report({ kind: "note", message });
    const tools: RunTool[] = [];
    using _store = await pinStore(join(request.dataDir, "store"), stopping.signal);
    for (const tool of prepared.tools) {
      const stored = await storeTool(tool, request.dataDir, stopping.signal);
      refuseUnusable(stored);
      tools.push(stored);
    }

    const tokens = mintTokens();
    const manager = await openManagerLink({ ...request, self, env }, stopping.signal);
    const spec = specOf(request, prepared, tools, runtimeDir.path, manager.url);
    stopping.signal.throwIfAborted();
    // The manager knows the run before its answer is here: whoever sees it then finds a run that goes on.
    stopWatching();
    await register(manager, spec, tokens);
    using log = openRunLog(request.dataDir, spec.run);
    const specPath = join(runtimeDir.path, "spec.json");
    writeFileSync(specPath, `${JSON.stringify(spec)}\n`, { mode: 0o600, flag: "wx" });
    keepAuditKey(request.dataDir, spec.run, tokens);
    mkdirSync(spec.spoolDir, { recursive: true, mode: 0o700 });
    report({ kind: "registered", run: spec.run, agent });
    return await superviseRun(
      {
        spec,
        specPath,
        logsDir: log.dir,
        self,
        env,
        log: log.log,
        prepared,
        tokens,
        manager,
        report,
      },
      stopping.signal,
    );
  } catch (error) {
    report({ kind: "fault", agent, ...errorFacts(error) });
    return exitCodeOf(error);
  } finally {
    stopListening();
  }
}

/** The first line of standard input. Nothing comes after it. */
async function readRequest(stdin: NodeJS.ReadStream): Promise<SupervisorRequest> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stdin.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (chunk.includes(0x0a) || size > MAX_REQUEST_BYTES) break;
  }
  return parseJson(
    "a request to the supervisor",
    SupervisorRequest,
    Buffer.concat(chunks).toString("utf8"),
  );
}

/** Until the run exists, nobody but `run` knows of it: when `run` dies, standard input ends, and nothing is started. */
function abortWhenLeft(stdin: NodeJS.ReadStream, stopping: AbortController): () => void {
  const onEnd = (): void => stopping.abort("the end of the command that started it");
  stdin.once("end", onEnd).once("error", onEnd).resume();
  if (stdin.readableEnded) onEnd();
  return () => {
    stdin
      .off("end", onEnd)
      .off("error", onEnd)
      .on("error", () => {});
  };
}

function specOf(
  request: SupervisorRequest,
  prepared: PreparedRun,
  tools: RunTool[],
  runtimeDir: string,
  managerUrl: string,
): RunSpec {
  const agentName = prepared.agent.metadata.name;
  const run = createRunId(agentName);
  return {
    protocol: PROTOCOL,
    run,
    agentName,
    epoch: 0,
    manager: { url: managerUrl, own: true },
    sockets: {
      recorder: join(runtimeDir, "rec.sock"),
      markers: join(runtimeDir, "mark.sock"),
      runner: join(runtimeDir, "run.sock"),
    },
    runtimeDir,
    spoolDir: join(request.dataDir, "spool", run),
    runDir: join(request.dataDir, "runs", run),
    agent: prepared.agentPart,
    ...(prepared.resume === undefined ? {} : { resume: prepared.resume }),
    terminal: request.terminal,
    zone: prepared.zone,
    tools,
    modelEndpoint: prepared.agent.spec.model?.endpoint ?? null,
    shellPath: prepared.shellPath,
  };
}

async function register(manager: ManagerLink, spec: RunSpec, tokens: RunTokens): Promise<void> {
  const { runtime, mode } = spec.agent;
  await manager.register({
    protocol: PROTOCOL,
    run: spec.run,
    agent: spec.agentName,
    runtime,
    mode,
    supervisorPid: process.pid,
    runtimeDir: spec.runtimeDir,
    spoolDir: spec.spoolDir,
    tools: spec.tools.map((tool) => tool.name),
    terminal: spec.terminal,
    ...(spec.resume === undefined ? {} : { resumes: spec.resume.run }),
    // A headless run of a known runtime reads no keyboard.
    interactive: mode === "supervised" || runtime === "Custom",
    tokenHashes: tokens.hashes,
    runnerKey: tokens.signing.publicKey,
    recorderKey: tokens.recordingKey.publicKey,
  });
}

/** With it, and only with it, somebody can tell later whether a call had certain arguments. The manager never serves it. */
function keepAuditKey(dataDir: string, run: string, tokens: RunTokens): void {
  const path = join(dataDir, "runs", run, "audit-key");
  writeFileSync(path, `${tokens.auditKey.toString("base64")}\n`, { mode: 0o600, flag: "wx" });
}

/** The supervisor's own log, beside those of its children. */
function openRunLog(dataDir: string, run: string): Disposable & { log: Log; dir: string } {
  const dir = join(dataDir, "runs", run, "logs");
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const descriptor = openSync(join(dir, "supervisor.log"), "a", 0o600);
  const log = openLog("supervisor", "info", descriptor).child({ run });
  return { log, dir, [Symbol.dispose]: () => closeSync(descriptor) };
}
