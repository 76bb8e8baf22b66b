import timers from "node:timers/promises";
import { openSandbox } from "../../kit/sandbox.ts";
import { type CallStopped, endOf, endOfExit, stopOf, type CallEnd } from "../call-end.ts";
import { watchLimits } from "../call-limits.ts";
import { CallOutput } from "../call-output.ts";
import { planCall } from "../call-sandbox.ts";
import { workspaceOf } from "../call-workspace.ts";
import { lendBoundary } from "../lend-boundary.ts";
import type { PrivateWorkspace } from "../private-workspace.ts";
import type { AdmittedCall, EndedCall, ToolRunner } from "../tool-runner.ts";
import { NO_OUTPUT } from "../no-output.ts";
import { NO_FILES } from "../result-files.ts";
import type { ProgramExit } from "../../kit/sandbox.ts";
import { endOfServer, runaway, ServerProcess } from "./server-process.ts";
import { renderReply, type RenderedReply } from "./server-reply.ts";

const EXIT_KNOWN_MS = 1000;

/** Runs a call of a tool that is an MCP server: on the one that serves several calls, or on one of its own. */
export async function runOnServer(
  runner: ToolRunner,
  call: AdmittedCall,
  copy: PrivateWorkspace | null,
  stop: (reason: CallStopped) => void,
  stopped: AbortSignal,
): Promise<EndedCall> {
  if (call.tool.mcp?.perCall === true) return runOnOwnServer(runner, call, copy, stop, stopped);
  const { tool, operation, onProgress } = call;
  const args = call.arguments.value;
  const served = await runner.servers.call(
    { tool, operation, arguments: args, onProgress },
    stopped,
  );
  return served.kind === "answered"
    ? answered(served.rendered, "", served.masked)
    : { ...serverEnd(served.exit, served.cause), ...NO_OUTPUT };
}

/** A process for this call alone, with the call's credentials, network and copy of the workspace. */
async function runOnOwnServer(
  runner: ToolRunner,
  call: AdmittedCall,
  copy: PrivateWorkspace | null,
  stop: (reason: CallStopped) => void,
  stopped: AbortSignal,
): Promise<EndedCall> {
  const { tool, operation } = call;
  const plan = planCall({
    tool,
    argv: [...(tool.mcp?.argv ?? [])],
    workspace: workspaceOf(runner, tool, copy),
    secrets: runner.secrets,
    boundary: runner.boundary,
  });
  await using sandbox = await openSandbox(
    plan,
    { stdin: "pipe", stdout: "pipe", stderr: "pipe" },
    stopped,
  );
  const onRunaway = (): void => stop(runaway());
  const secrets = runner.secrets.redaction;
  const capBytes = tool.sandbox.outputBytes;
  const stderr = new CallOutput(sandbox.stderr, { capBytes, secrets, onRunaway });
  await using _grant = await lendBoundary(runner, call, sandbox);
  using _limits = watchLimits(sandbox.pid, tool.sandbox, stop);
  const exits = sandbox.toolExit.then((exit) => ({ exit }));
  const stops = stopOf(stopped).then((reason) => ({ reason }));
  const talk = async (): Promise<{ rendered: RenderedReply; masked: number }> => {
    const options = { secrets, outputBytes: capBytes, onRunaway };
    const server = await ServerProcess.connect(sandbox, options, stopped);
    const result = await server.call(
      operation.name,
      call.arguments.value,
      call.onProgress,
      stopped,
    );
    return { rendered: renderReply(operation, result, capBytes), masked: server.masked };
  };
  const talked = talk();
  // The process ends a moment after its pipes: its end says more than theirs, so it gets that moment.
  const failed = talked.catch(async (error: unknown) => {
    await timers.setTimeout(EXIT_KNOWN_MS, undefined, { ref: false });
    return { error };
  });
  const ended = await Promise.race([failed, exits, stops]);
  await sandbox.kill();
  await stderr.ended;
  const said = { stderr: stderr.text(), truncated: stderr.truncated, masked: stderr.masked };
  if ("error" in ended) throw ended.error;
  if ("reason" in ended) return { ...ended.reason.end(), ...NO_OUTPUT, ...said };
  if ("exit" in ended)
    return { ...serverEnd(ended.exit, endOfServer(ended.exit)), ...NO_OUTPUT, ...said };
  const { rendered, masked } = ended;
  const result = answered(rendered, said.stderr, said.masked + masked);
  return { ...result, truncated: result.truncated || said.truncated };
}

function answered(
  { reply, text, truncated }: RenderedReply,
  stderr: string,
  masked: number,
): EndedCall {
  return {
    outcome: "completed",
    exitCode: reply.isError === true ? 1 : 0,
    signal: null,
    stdout: text === "" || text.endsWith("\n") ? text : `${text}\n`,
    stderr,
    truncated,
    masked,
    reply,
    files: NO_FILES,
  };
}

/** A server that ends without an answer did not complete the call, whatever its exit code. */
function serverEnd(exit: ProgramExit, cause: string): CallEnd {
  if (exit.kind === "exited") return endOf("lost", cause, "call again; the server is started anew");
  const end = endOfExit(exit, "the MCP server");
  return { ...end, detail: { ...end.detail, cause } };
}
