import type { KeyObject } from "node:crypto";
import type { Log } from "../kit/log.ts";
import type { AuditRecord } from "../protocol/audit.ts";
import type { CallId, RunId } from "../protocol/ids.ts";
import type { Tier } from "../protocol/tool-manifest.ts";
import type { Bind } from "../protocol/run-spec.ts";
import type { Boundary } from "./boundary/boundary.ts";
import type { BoundaryRequest } from "./boundary/request-record.ts";
import type { AdmittedArguments } from "./arguments.ts";
import type { CallEnd } from "./call-end.ts";
import type { CallRequests } from "./call-requests.ts";
import type { CallSecrets } from "./call-secrets.ts";
import type { LoadedOperation } from "./operations.ts";
import type { McpServers } from "./mcp/mcp-servers.ts";
import type { CallProgress } from "./mcp/server-process.ts";
import type { ServerReply } from "./mcp/server-reply.ts";
import type { ResultFiles } from "./result-files.ts";
import type { CallQueue } from "./queue.ts";
import type { WorkspaceFlows } from "./workspace-flows.ts";
import type { LoadedTool } from "./tools.ts";

/** All that a call needs from the run it belongs to. */
export interface ToolRunner {
  readonly run: RunId;
  readonly tools: ReadonlyMap<string, LoadedTool>;
  readonly secrets: CallSecrets;
  readonly boundary: Pick<Boundary, "openCall" | "sandboxEnv" | "sandboxFiles">;
  readonly requests: CallRequests;
  readonly queue: CallQueue;
  /** the MCP servers among the tools */
  readonly servers: McpServers;
  /** lets one merge into the workspace happen at a time */
  readonly merges: CallQueue;
  /** what calls carry to one another through the workspace */
  readonly flows: WorkspaceFlows;
  /** the agent's workspace on the host, and what is bound read-only over parts of it; null when there is none */
  readonly workspace: { path: string; covers: readonly Bind[] } | null;
  /** private directory of copies and journals of calls */
  readonly callsDir: string;
  /** where a tool's unmerged version of files is kept for a person */
  readonly keepDir: string;
  /** key of the digests of arguments in the audit */
  readonly auditKey: KeyObject;
  /** writes an audit record; throws when it cannot, and then the call must not run */
  record(record: AuditRecord): void;
  /** puts a marker into the recording, best effort */
  mark(label: string): void;
  /** aborted when the run ends: every call is cancelled and no other begins */
  readonly ended: AbortSignal;
  readonly log: Log;
}

export interface CallRequest {
  tool: string;
  operation: string;
  arguments: unknown;
  face: "mcp" | "shim" | "cli";
  /** called when an MCP server says how far it has come */
  onProgress?: (progress: CallProgress) => void;
}

/** A call whose tool, operation and arguments were found good. */
export interface AdmittedCall {
  id: CallId;
  tool: LoadedTool;
  operation: LoadedOperation;
  arguments: AdmittedArguments;
  onProgress: ((progress: CallProgress) => void) | null;
}

/** What a call was given of others through the workspace, and what it left there for them. */
export type WorkspaceFlow = NonNullable<Extract<AuditRecord, { type: "call" }>["workspace"]>;

/** What came of a call that was let run. */
export type EndedCall = CallEnd &
  Pick<CallResult, "stdout" | "stderr" | "truncated" | "reply" | "files"> &
  WorkspaceFlow & { masked: number };

/** What a call came to, whatever it was. Its texts are redacted. */
export interface CallResult extends CallEnd {
  call: CallId;
  stdout: string;
  stderr: string;
  truncated: boolean;
  /** the answer of an MCP server as it is; `stdout` is its text */
  reply: ServerReply | null;
  /** what its operation gives besides text */
  files: ResultFiles;
  tier: Tier | null;
  durationMs: number;
  requests: readonly BoundaryRequest[];
}
