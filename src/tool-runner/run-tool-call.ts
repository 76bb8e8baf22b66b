import { findTokenShapes } from "../kit/find-token-shapes.ts";
import { PlatformError, errnoOf } from "../kit/platform-error.ts";
import { type ProgramExit, type Sandbox, openSandbox } from "../kit/sandbox.ts";
import { createCallId, type CallId } from "../protocol/ids.ts";
import { admitArguments } from "./arguments.ts";
import { CallStopped, endOf, endOfExit, stopOf, type CallEnd } from "./call-end.ts";
import { memoryEnd, watchClock, watchLimits } from "./call-limits.ts";
import { CallOutput } from "./call-output.ts";
import { recordEnd, recordStart } from "./call-records.ts";
import { planCall } from "./call-sandbox.ts";
import { lendBoundary } from "./lend-boundary.ts";
import { OpenedDirectory } from "../kit/opened-directory.ts";
import { collectFiles, NO_FILES, type ResultFiles } from "./result-files.ts";
import { NO_OUTPUT } from "./no-output.ts";
import { holdToSchema } from "./promised-output.ts";
import { copyWorkspace, mergeWorkspace, workspaceOf } from "./call-workspace.ts";
import { watchDisk } from "./watch-disk.ts";
import type { PrivateWorkspace } from "./private-workspace.ts";
import type {
  AdmittedCall,
  CallRequest,
  CallResult,
  EndedCall,
  ToolRunner,
} from "./tool-runner.ts";

/** Runs one tool call to its end. Never rejects: refusals, timeouts and crashes are outcomes. */
export async function runToolCall(
  runner: ToolRunner,
  request: CallRequest,
  caller: AbortSignal,
): Promise<CallResult> {
  const id = createCallId();
  const startedAt = performance.now();
  using requests = runner.requests.collect(id);
  let ended: EndedCall;
  let started = false;
  try {
    const cancelled = AbortSignal.any([caller, runner.ended]);
    const call = await admit(runner, id, request, cancelled);
    // The tool's own place first: whoever waits for it takes no place of the run from others.
    using _own = await call.tool.places?.enter(cancelled);
    using _place = await runner.queue.enter(cancelled);
    recordStart(runner, call, request);
    started = true;
    ended = await runAdmitted(runner, call, cancelled);
  } catch (error) {
    ended = { ...NO_OUTPUT, ...endOfError(runner, error, caller) };
  }
  const durationMs = Math.round(performance.now() - startedAt);
  const { masked, given, brought, ...end } = ended;
  const tier =
    started && end.outcome !== "start_failed" && end.outcome !== "refused"
      ? (runner.tools.get(request.tool)?.sandbox.tier ?? null)
      : null;
  recordEnd(runner, request, {
    ...end,
    id,
    durationMs,
    tier,
    requests: requests.count,
    masked: masked + requests.masked,
    given,
    brought,
    // Ours are masked by now: what still looks like a token is somebody else's, and the agent is about to read it.
    flagged: findTokenShapes(
      `${end.stdout}\n${end.stderr}\n${end.reply === null ? "" : JSON.stringify(end.reply)}`,
    ),
  });
  return { ...end, call: id, tier, durationMs, requests: [...requests.listed] };
}

/** Finds tool and operation and checks the arguments. Throws `PlatformError`: the call is refused. */
async function admit(
  runner: ToolRunner,
  id: CallId,
  request: CallRequest,
  signal: AbortSignal,
): Promise<AdmittedCall> {
  if (runner.ended.aborted)
    throw new PlatformError("run_ended", "The run has ended; no tool can be called any more");
  const tool = runner.tools.get(request.tool);
  if (tool === undefined) throw unknownName("tool", request.tool, [...runner.tools.keys()]);
  const operations = await runner.servers.operationsOf(tool, signal);
  const operation = operations.get(request.operation);
  if (operation === undefined)
    throw unknownName(`operation of ${tool.name}`, request.operation, [...operations.keys()]);
  return {
    id,
    tool,
    operation,
    arguments: admitArguments(operation, request.arguments),
    onProgress: request.onProgress ?? null,
  };
}

async function runAdmitted(
  runner: ToolRunner,
  call: AdmittedCall,
  cancelled: AbortSignal,
): Promise<EndedCall> {
  const stopped = new AbortController();
  const stop = (reason: CallStopped): void => stopped.abort(reason);
  const cancel = (): void => stop(new CallStopped("cancelled", "The call was cancelled"));
  cancelled.addEventListener("abort", cancel, { once: true });
  if (cancelled.aborted) cancel();
  try {
    using _clock = watchClock(call.tool.sandbox.timeoutMs, stop);
    await runner.secrets.refresh(call.tool);
    await using copy = await copyWorkspace(runner, call, stopped.signal);
    using _disk = copy === null ? null : await watchDisk(copy.path, stop);
    const run =
      call.tool.mcp === null ? runInSandbox : (await import("./mcp/run-on-server.ts")).runOnServer;
    const given = copy === null ? undefined : runner.flows.given(copy.base);
    const flow = given === undefined ? {} : { given };
    const ended = { ...(await run(runner, call, copy, stop, stopped.signal)), ...flow };
    const byItself = ended.outcome === "completed" || ended.outcome === "signalled";
    if (copy === null || call.tool.sandbox.workspace !== "rw" || !byItself) return ended;
    return { ...ended, ...(await mergeWorkspace(runner, call, copy, ended)) };
  } catch (error) {
    // What gave up because of the stop says so in its own words; the stop itself is the reason.
    throw stopped.signal.aborted ? stopped.signal.reason : error;
  } finally {
    cancelled.removeEventListener("abort", cancel);
  }
}

async function runInSandbox(
  runner: ToolRunner,
  call: AdmittedCall,
  copy: PrivateWorkspace | null,
  stop: (reason: CallStopped) => void,
  stopped: AbortSignal,
): Promise<EndedCall> {
  const { tool, operation } = call;
  const plan = planCall({
    tool,
    argv: call.arguments.argv,
    keepsDirectory: operation.files.length > 0,
    workspace: workspaceOf(runner, tool, copy),
    secrets: runner.secrets,
    boundary: runner.boundary,
  });
  const stdin = call.arguments.stdin;
  await using sandbox = await openSandbox(
    plan,
    { stdin: stdin === null ? "ignore" : "pipe", stdout: "pipe", stderr: "pipe" },
    stopped,
  );
  const outputOptions = {
    capBytes: tool.sandbox.outputBytes,
    secrets: runner.secrets.redaction,
    onRunaway: () =>
      stop(
        new CallStopped(
          "killed_by_limit",
          "The tool wrote far more than its output limit and was killed",
          "raise spec.sandbox.limits.output, or make the tool write less",
        ),
      ),
  };
  const stdout = new CallOutput(sandbox.stdout, outputOptions);
  const stderr = new CallOutput(sandbox.stderr, outputOptions);
  // Lent last and taken back before the result is given: no process, connection or listener outlives the call.
  await using _grant = await lendBoundary(runner, call, sandbox);
  using _limits = watchLimits(sandbox.pid, tool.sandbox, stop);
  // A tool that does not read its input is free to: its pipe then breaks.
  sandbox.stdin?.on("error", () => {}).end(stdin);
  const exit = await Promise.race([sandbox.toolExit, stopOf(stopped)]);
  await sandbox.kill();
  await Promise.all([stdout.ended, stderr.ended]);
  const said = stdout.text();
  const end = holdToSchema(operation, endOfRun(exit, call, sandbox), said);
  const { masked, ...files } =
    end.outcome === "completed"
      ? await filesOf(runner, call, sandbox, stopped)
      : { ...NO_FILES, masked: 0 };
  return {
    ...end,
    files,
    stdout: said,
    stderr: stderr.text(),
    truncated: stdout.truncated || stderr.truncated,
    masked: stdout.masked + stderr.masked + masked,
    reply: null,
  };
}

/** The files that the operation gives, from the directory that the tool worked in, which outlives the sandbox for as long as we hold it. */
async function filesOf(
  { secrets }: ToolRunner,
  { operation, tool }: AdmittedCall,
  sandbox: Sandbox,
  stopped: AbortSignal,
): Promise<ResultFiles & { masked: number }> {
  const descriptor = sandbox.takeDirectory?.() ?? null;
  if (descriptor === null) return { ...NO_FILES, masked: 0 };
  await using directory = await OpenedDirectory.adopt(descriptor);
  const { filesBytes: maxBytes } = tool.sandbox;
  return await collectFiles(
    directory,
    { patterns: operation.files, maxBytes, secrets: secrets.redaction },
    stopped,
  );
}

/** The kernel's own word about a limit comes before what became of the tool by it. */
function endOfRun(
  exit: ProgramExit | CallStopped,
  { tool, arguments: { argv } }: AdmittedCall,
  { limitReached }: Sandbox,
): CallEnd {
  if (exit instanceof CallStopped) return exit.end();
  const byItself = exit.kind === "exited" && exit.code === 0;
  if (limitReached === "memory" && !byItself) return memoryEnd(tool.sandbox.memoryBytes).end();
  return endOfExit(exit, argv[0] ?? "");
}

function unknownName(kind: string, name: string, known: string[]): PlatformError {
  const names =
    known.length === 0 ? "there are none" : `there are ${known.slice(0, 50).join(", ")}`;
  return new PlatformError(
    "not_found",
    `No ${kind} is named ${JSON.stringify(name.slice(0, 128))}; ${names}`,
  );
}

const REFUSALS = new Set([
  "run_ended",
  "not_found",
  "arguments_invalid",
  "queue_full",
  "workspace_missing",
  "workspace_too_large",
  "credential_undeliverable",
  "secret_missing",
  "secret_unavailable",
  "audit_unavailable",
  "tier_unavailable",
]);

/** What an error of ours means for the call. A text we did not write is logged, not given to the agent. */
function endOfError(runner: ToolRunner, error: unknown, caller: AbortSignal): CallEnd {
  if (error instanceof CallStopped) return error.end();
  if (error instanceof PlatformError) {
    if (!REFUSALS.has(error.code)) runner.log.error({ err: error }, "tool call did not start");
    const outcome =
      REFUSALS.has(error.code) || error.code === "request_too_large" ? "refused" : "start_failed";
    return endOf(outcome, error.message, error.fix, error.path);
  }
  if (caller.aborted || runner.ended.aborted) return endOf("cancelled", "The call was cancelled");
  runner.log.error({ err: error }, "tool call failed");
  return endOf(
    "start_failed",
    `The tool-runner could not run the call (${errnoOf(error) ?? "internal fault"}); its log says why`,
  );
}
