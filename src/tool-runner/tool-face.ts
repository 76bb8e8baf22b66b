import type { IncomingMessage, ServerResponse } from "node:http";
import * as z from "zod";
import { PlatformError } from "../kit/platform-error.ts";
import type { ToolCallReply, ToolList } from "../protocol/tool-api.ts";
import { readJsonBody, sendError, sendJson, statusOfBody } from "./json-body.ts";
import { repliedFiles } from "./result-files.ts";
import { runToolCall } from "./run-tool-call.ts";
import type { CallResult, ToolRunner } from "./tool-runner.ts";

const CALL_PATH = /^\/v1\/tools\/([a-z0-9-]{1,63})\/([A-Za-z0-9_.-]{1,128})$/;
// Not a record: zod's record would drop a key "__proto__" before the arguments are looked at.
const Envelope = z.strictObject({ arguments: z.unknown() });

/** Answers `/v1/tools…`, what the shims speak. The token was checked. */
export async function serveToolFace(
  runner: ToolRunner,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = request.url ?? "";
  const call = CALL_PATH.exec(path);
  if (path === "/v1/tools" && request.method === "GET")
    return sendJson(response, 200, await listOf(runner, abortOnClose(response)));
  if (call?.[1] === undefined || call[2] === undefined)
    return sendError(
      response,
      404,
      "not_found",
      "Expected GET /v1/tools or POST /v1/tools/TOOL/OPERATION",
    );
  if (request.method !== "POST")
    return sendError(response, 405, "method_not_allowed", "Expected POST");
  let given: unknown;
  try {
    const envelope = Envelope.safeParse(await readJsonBody(request));
    if (!envelope.success)
      return sendError(response, 400, "bad_request", 'Expected {"arguments": {…}}');
    given = envelope.data.arguments ?? {};
  } catch (error) {
    if (!(error instanceof PlatformError)) throw error;
    return sendError(response, statusOfBody(error), error.code, error.message, error.fix);
  }
  const caller = abortOnClose(response);
  const result = await runToolCall(
    runner,
    { tool: call[1], operation: call[2], arguments: given, face: "shim" },
    caller,
  );
  if (!response.destroyed) sendJson(response, 200, replyOf(result));
}

/** Aborted when the caller goes away before it was answered: a call that nobody waits for is killed. */
export function abortOnClose(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) gone.abort();
  });
  if (response.destroyed) gone.abort();
  return gone.signal;
}

async function listOf(runner: ToolRunner, signal: AbortSignal): Promise<ToolList> {
  const all = await runner.servers.allOperations(runner.tools.values(), signal);
  return {
    tools: [...all].map(([tool, operations]) => ({
      name: tool.name,
      description: tool.description,
      operations: [...operations.values()].map(({ name, description, inputSchema, files }) => ({
        name,
        description,
        inputSchema,
        ...(files.length === 0 ? {} : { files: files.map(({ text }) => text) }),
      })),
    })),
  };
}

function replyOf({
  outcome,
  exitCode,
  signal,
  stdout,
  stderr,
  truncated,
  detail,
  durationMs,
  files,
}: CallResult): ToolCallReply {
  return {
    outcome,
    exitCode,
    signal,
    stdout,
    stderr,
    truncated,
    durationMs,
    ...repliedFiles(files),
    ...(detail === undefined ? {} : { detail }),
  };
}
