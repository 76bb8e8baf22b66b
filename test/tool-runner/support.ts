import { generateKeySync } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { atEnd } from "../helpers/at-end.ts";
import { silentLog } from "../../src/kit/log.ts";
import type { AuditRecord } from "../../src/protocol/audit.ts";
import { type Operation, ToolSpec } from "../../src/protocol/tool-manifest.ts";
import type { RunTool } from "../../src/protocol/run-spec.ts";
import { Boundary } from "../../src/tool-runner/boundary/boundary.ts";
import { CallRequests } from "../../src/tool-runner/call-requests.ts";
import { CallSecrets } from "../../src/tool-runner/call-secrets.ts";
import { workspaceOf } from "../../src/tool-runner/call-workspace.ts";
import { McpServers } from "../../src/tool-runner/mcp/mcp-servers.ts";
import { removePackage } from "../../src/tool-runner/packages.ts";
import { CallQueue } from "../../src/tool-runner/queue.ts";
import type { ToolRunner } from "../../src/tool-runner/tool-runner.ts";
import { WorkspaceFlows } from "../../src/tool-runner/workspace-flows.ts";
import { loadTools } from "../../src/tool-runner/tools.ts";

export const never = new AbortController().signal;

/** A directory of this test alone, removed at its end. */
export function temporaryDirectory(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "runner-test-"));
  // Some tests leave read-only directories.
  atEnd(context, () => removePackage(path));
  return path;
}

/** A tool with one operation `go` that runs a shell script. */
export function aShellTool(script: string, spec: Partial<ToolSpec> = {}): RunTool {
  return aTool({ ...spec, operations: [{ name: "go", command: ["/bin/sh", "-c", script] }] });
}

export function aTool(
  spec: Partial<ToolSpec> & { operations: Operation[] },
  packageDir: string | null = null,
): RunTool {
  return {
    name: "box",
    spec: ToolSpec.parse(spec),
    packageDir,
    digest: `sha256:${"0".repeat(64)}`,
  };
}

export interface TestRunner extends ToolRunner {
  records: AuditRecord[];
  marks: string[];
  end: AbortController;
  /** settles when a record of this kind is there */
  waitForRecord(fits: (record: AuditRecord) => boolean): Promise<void>;
}

/** A runner with a real boundary and real sandboxes; audit and markers go to arrays. */
export async function aRunner(
  context: TestContext,
  tools: RunTool[],
  options: {
    secrets?: Record<string, string>;
    workspace?: string;
    queue?: { running: number; waiting: number };
  } = {},
): Promise<TestRunner> {
  const directory = temporaryDirectory(context);
  const loaded = loadTools(tools);
  const requests = new CallRequests();
  const records: AuditRecord[] = [];
  const marks: string[] = [];
  const end = new AbortController();
  const written = new EventEmitter();
  const values = Object.entries(options.secrets ?? {}).map(
    ([name, value]) => [name, Buffer.from(value)] as const,
  );
  const secrets = new CallSecrets(new Map(values), loaded.values());
  const boundary = new Boundary({
    run: "test-run",
    log: silentLog,
    onRequest: (record) => requests.take(record),
  });
  const workspace =
    options.workspace === undefined ? null : { path: options.workspace, covers: [] };
  const servers = new McpServers({
    secrets,
    boundary,
    workspaceOf: (tool) => workspaceOf({ workspace }, tool, null),
    log: silentLog,
    ended: end.signal,
  });
  atEnd(context, () => servers[Symbol.asyncDispose]());
  return {
    run: "test-run",
    tools: loaded,
    secrets,
    boundary,
    servers,
    requests,
    flows: new WorkspaceFlows(),
    merges: new CallQueue({ running: 1, waiting: 8 }),
    queue: new CallQueue(options.queue ?? { running: 4, waiting: 4 }),
    workspace,
    callsDir: join(directory, "calls"),
    keepDir: join(directory, "unmerged"),
    auditKey: generateKeySync("hmac", { length: 256 }),
    record: (record) => {
      records.push(record);
      written.emit("record");
    },
    waitForRecord: async (fits) => {
      while (!records.some(fits)) await once(written, "record");
    },
    mark: (label) => marks.push(label),
    ended: end.signal,
    log: silentLog,
    records,
    marks,
    end,
  };
}
