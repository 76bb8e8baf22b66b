import type { RunTool } from "../protocol/run-spec.ts";
import type { Tool } from "../protocol/tool-manifest.ts";
import { checkTool } from "../tool-runner/local-call.ts";
import { refuseProblems } from "./manifests/problems.ts";
import type { PackageSource } from "./store-tools.ts";

/** What the tool-runner would refuse, found before the run exists. */
export function toolProblems(tool: Tool, source: PackageSource | null): string[] {
  // What is in an archive is seen once it is unpacked, into the store; the supervisor looks then.
  if (source?.kind === "archive") return [];
  const { name } = tool.metadata;
  const packageDir = source?.path ?? null;
  return problemsOfStored({
    name,
    spec: tool.spec,
    packageDir,
    digest: `sha256:${"0".repeat(64)}`,
  });
}

/** Throws `invalid_manifest` when a tool of the store could not be called. */
export function refuseUnusable(tool: RunTool): void {
  refuseProblems(problemsOfStored(tool));
}

function problemsOfStored(tool: RunTool): string[] {
  return checkTool(tool).map(
    ({ path, problem, fix }) =>
      `Tool "${tool.name}" ${path}: ${problem}${fix === undefined ? "" : ` (${fix})`}`,
  );
}
