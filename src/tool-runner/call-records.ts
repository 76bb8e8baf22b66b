import { createHmac } from "node:crypto";
import { PlatformError, messageOf } from "../kit/platform-error.ts";
import type { AuditRecord } from "../protocol/audit.ts";
import type { CallId } from "../protocol/ids.ts";
import type { CallEnd } from "./call-end.ts";
import { policyHash } from "./policy-hash.ts";
import type {
  AdmittedCall,
  CallRequest,
  CallResult,
  EndedCall,
  ToolRunner,
} from "./tool-runner.ts";

/** Writes down that a call begins; throws when that is not possible, and then the call must not run. */
export function recordStart(runner: ToolRunner, call: AdmittedCall, request: CallRequest): void {
  try {
    runner.record(startRecord(runner, call, request));
  } catch (error) {
    throw new PlatformError(
      "audit_unavailable",
      `The call cannot be put on record, so it is refused: ${messageOf(error)}`,
      { cause: error },
    );
  }
  runner.mark(`tool ${call.tool.name} ${call.operation.name}`);
}

function startRecord(runner: ToolRunner, call: AdmittedCall, request: CallRequest): AuditRecord {
  return {
    type: "call_started",
    time: new Date().toISOString(),
    run: runner.run,
    call: call.id,
    tool: call.tool.name,
    operation: call.operation.name,
    face: request.face,
    digest: call.tool.digest,
    policy: policyHash(call.tool),
    arguments: createHmac("sha256", runner.auditKey).update(call.arguments.canonical).digest("hex"),
  };
}

/** Writes down how a call ended, in the audit, the recording and the log. Never throws. */
export function recordEnd(
  runner: ToolRunner,
  request: CallRequest,
  end: CallEnd &
    Pick<CallResult, "tier" | "durationMs" | "files"> &
    Pick<EndedCall, "given" | "brought"> & {
      id: CallId;
      requests: number;
      masked: number;
      /** kinds of tokens that its output seems to hold */
      flagged: readonly string[];
    },
): void {
  const { id, outcome, exitCode, detail, tier, durationMs, requests, masked, flagged } = end;
  const { files } = end.files;
  const { given, brought } = end;
  const tool = printable(request.tool);
  const operation = printable(request.operation);
  try {
    runner.record({
      type: "call",
      time: new Date().toISOString(),
      run: runner.run,
      call: id,
      tool,
      operation,
      outcome,
      exitCode,
      ...(detail === undefined ? {} : { detail }),
      tier,
      durationMs,
      requests,
      masked,
      ...(files.length === 0
        ? {}
        : {
            files: files.map(({ path, bytes, sha256 }) => ({ path, bytes: bytes.length, sha256 })),
          }),
      ...(given === undefined && brought === undefined
        ? {}
        : {
            workspace: {
              ...(given === undefined ? {} : { given }),
              ...(brought === undefined ? {} : { brought }),
            },
          }),
      ...(flagged.length === 0 ? {} : { flagged: flagged.slice(0, 16) }),
    });
  } catch (error) {
    runner.log.error({ err: error, call: id }, "end of a call could not be recorded");
  }
  runner.mark(
    `tool ${tool} ${operation} ${outcome}${exitCode === null ? "" : ` ${exitCode}`} in ${durationMs} ms`,
  );
  if (flagged.length > 0)
    runner.log.warn({ call: id, tool, flagged }, "output of a tool looks as if it held tokens");
  runner.log.info({ call: id, tool, operation, outcome, exitCode, durationMs }, "tool call ended");
}

/** Names of unknown tools are the agent's text: shortened, and without control characters. */
function printable(name: string): string {
  return name.slice(0, 128).replaceAll(/[^\x20-\x7e]/g, "?");
}
