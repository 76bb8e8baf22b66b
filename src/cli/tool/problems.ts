import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf, PlatformError } from "../../kit/platform-error.ts";
import type { Tool } from "../../protocol/tool-manifest.ts";
import { checkTool, describeTool } from "../../tool-runner/local-call.ts";
import type { ToolProblem } from "../../tool-runner/operations.ts";
import { removePackage } from "../../tool-runner/packages.ts";
import { ruleProblems } from "../credential-rules.ts";
import type { Placed } from "../manifests/load.ts";
import { storeTool } from "../store-tools.ts";

/** One thing that keeps a Tool from running here. */
export interface ToolFault {
  /** the field or file it is about */
  readonly path?: string;
  readonly cause: string;
  readonly fix?: string;
}

/** A Tool as it was found: what is wrong with it, and which operations it has. */
export interface ExaminedTool {
  readonly faults: readonly ToolFault[];
  readonly operations: readonly string[];
}

/** Everything that keeps a Tool from running here. Brings its package into a store, as a run would, and takes it away again. */
export async function examineTool(tool: Placed<Tool>, signal: AbortSignal): Promise<ExaminedTool> {
  const operations = (tool.value.spec.operations ?? []).map(({ name }) => name);
  const rules = ruleProblems(tool.value).map((cause) => ({ cause }));
  const directory = await mkdtemp(join(tmpdir(), "agentkube-check-"));
  try {
    const stored = await storeTool(tool, directory, signal);
    const own = checkTool(stored).map((problem) => faultOf(stored.name, problem));
    if (own.length > 0 || rules.length > 0 || tool.value.spec.mcp === undefined)
      return { faults: [...rules, ...own], operations };
    const served = await describeTool({ tool: stored, signal });
    return {
      faults: served.problems.map((problem) => faultOf(stored.name, problem)),
      operations: served.operations.map(({ name }) => name),
    };
  } catch (error) {
    if (!(error instanceof PlatformError) || signal.aborted) throw error;
    const { path, fix } = error;
    const own = {
      cause: messageOf(error),
      ...(path === undefined ? {} : { path }),
      ...(fix === undefined ? {} : { fix }),
    };
    return { faults: [...rules, own], operations };
  } finally {
    await removePackage(directory);
  }
}

function faultOf(tool: string, { path, problem, fix }: ToolProblem): ToolFault {
  return {
    path,
    cause: `Tool "${tool}" ${path}: ${problem}`,
    ...(fix === undefined ? {} : { fix }),
  };
}

/** A fault as one sentence. */
export function sentenceOf({ cause, fix }: ToolFault): string {
  return fix === undefined ? cause : `${cause}; ${fix}`;
}
