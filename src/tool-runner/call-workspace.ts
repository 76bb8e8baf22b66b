import { join } from "node:path";
import { PlatformError, errnoOf } from "../kit/platform-error.ts";
import { redactAll, type RedactionTable } from "../kit/redactor.ts";
import type { CallEnd } from "./call-end.ts";
import type { CallWorkspace } from "./call-sandbox.ts";
import { type MergeOptions, type MergeResult, PrivateWorkspace } from "./private-workspace.ts";
import type { AdmittedCall, EndedCall, ToolRunner } from "./tool-runner.ts";
import type { MergeChange } from "./workspace-merge.ts";
import type { LoadedTool } from "./tools.ts";

/** A tool with credentials gets its own copy: the agent cannot change files under its hands. */
export async function copyWorkspace(
  runner: ToolRunner,
  { id, tool }: AdmittedCall,
  signal: AbortSignal,
): Promise<PrivateWorkspace | null> {
  if (tool.sandbox.workspace === "none" || tool.credentials.length === 0) return null;
  return PrivateWorkspace.open(
    requireWorkspace(runner, tool).path,
    join(runner.callsDir, id),
    signal,
  );
}

/** What of the workspace a call sees. */
export function workspaceOf(
  runner: Pick<ToolRunner, "workspace">,
  tool: LoadedTool,
  copy: PrivateWorkspace | null,
): CallWorkspace | null {
  const { workspace: mode } = tool.sandbox;
  if (mode === "none") return null;
  if (copy !== null) return { source: copy.path, mode, covers: [] };
  const { path, covers } = requireWorkspace(runner, tool);
  return { source: path, mode, covers };
}

function requireWorkspace(
  runner: Pick<ToolRunner, "workspace">,
  tool: LoadedTool,
): NonNullable<ToolRunner["workspace"]> {
  if (runner.workspace !== null) return runner.workspace;
  throw new PlatformError(
    "workspace_missing",
    `Tool "${tool.name}" works in a workspace, and there is none`,
    {
      fix: "name one with --workspace DIR",
    },
  );
}

/** Brings a copy's changes home; what could not be is said in the detail of the call's end. */
export async function mergeWorkspace(
  runner: ToolRunner,
  call: AdmittedCall,
  copy: PrivateWorkspace,
  ended: CallEnd,
): Promise<Pick<EndedCall, "detail" | "brought">> {
  const { path, covers } = requireWorkspace(runner, call.tool);
  const protectedPaths = new Set(
    covers.map(({ target }) => Buffer.from(target.slice(path.length + 1)).toString("latin1")),
  );
  const options = {
    protectedPaths,
    secrets: runner.secrets.redaction,
    keepDir: join(runner.keepDir, call.id),
  };
  const { merged: changes, cause } = await tryMerge(runner, copy, options);
  const flow = runner.flows.brought(call.id, changes);
  const brought = flow === undefined ? {} : { brought: flow };
  if (cause === null) return brought;
  runner.log.warn({ call: call.id, tool: call.tool.name }, "workspace changes not merged");
  const before = ended.detail === undefined ? "" : `${ended.detail.cause}. `;
  return {
    ...brought,
    detail: {
      cause: `${before}${cause}`.slice(0, 4096),
      fix: "look at the files named, then call the tool again",
    },
  };
}

/** What was merged, and why the rest was not; null when there is none. One merge at a time: two would look and then write across each other. */
async function tryMerge(
  runner: ToolRunner,
  copy: PrivateWorkspace,
  options: MergeOptions,
): Promise<{ merged: readonly MergeChange[]; cause: string | null }> {
  // Not cancellable: what a tool has done is brought home or kept, also while the run ends.
  const never = new AbortController().signal;
  try {
    using _place = await runner.merges.enter(never);
    const result = await copy.merge(options, never);
    return { merged: result.merged, cause: unmergedCause(result, options.secrets) };
  } catch (error) {
    runner.log.error({ err: error }, "merge failed");
    const why = error instanceof PlatformError ? error.message : errnoOf(error);
    const cause = `The tool's changes could not be brought into the workspace (${why ?? "internal fault"})`;
    return { merged: [], cause };
  }
}

function unmergedCause(
  { merged, conflicts, leaks, keptAt }: MergeResult,
  secrets: RedactionTable | null,
): string | null {
  const names = (paths: string[]): string =>
    paths
      .slice(0, 10)
      // A name is a tool's text: it can be a secret itself.
      .map((path) =>
        JSON.stringify(redactAll(secrets, Buffer.from(path, "latin1")).toString("utf8")),
      )
      .join(", ");
  if (leaks.length > 0)
    return `The tool's changes were not brought into the workspace: ${names(leaks)} would hold a credential`;
  if (merged.length > 0 && conflicts.length > 0)
    return `Some of the tool's changes were not brought into the workspace: ${names(conflicts)} changed in that moment; its version is kept in ${keptAt}`;
  if (conflicts.length > 0)
    return `The tool's changes were not brought into the workspace: ${names(conflicts)} changed meanwhile; its version is kept in ${keptAt}`;
  return null;
}
