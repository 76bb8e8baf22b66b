import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf, PlatformError } from "../../kit/platform-error.ts";
import type { Tool } from "../../protocol/tool-manifest.ts";
import { checkTool, describeTool } from "../../tool-runner/local-call.ts";
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

/** Everything that keeps a Tool from running here. Brings its package into a store, as a run would, and takes it away again. */
export async function faultsOf(tool: Placed<Tool>, signal: AbortSignal): Promise<ToolFault[]> {
  const rules = ruleProblems(tool.value).map((cause) => ({ cause }));
  const directory = await mkdtemp(join(tmpdir(), "agentkube-check-"));
  try {
    const stored = await storeTool(tool, directory, signal);
    const own = checkTool(stored).map(({ path, problem, fix }) => ({
      path,
      cause: `Tool "${stored.name}" ${path}: ${problem}`,
      ...(fix === undefined ? {} : { fix }),
    }));
    if (own.length > 0 || rules.length > 0 || tool.value.spec.mcp === undefined)
      return [...rules, ...own];
    const { problems } = await describeTool({ tool: stored, signal });
    return problems.map(({ path, problem, fix }) => ({
      path,
      cause: `Tool "${stored.name}" ${path}: ${problem}`,
      ...(fix === undefined ? {} : { fix }),
    }));
  } catch (error) {
    if (!(error instanceof PlatformError) || signal.aborted) throw error;
    const { path, fix } = error;
    return [
      ...rules,
      {
        cause: messageOf(error),
        ...(path === undefined ? {} : { path }),
        ...(fix === undefined ? {} : { fix }),
      },
    ];
  } finally {
    await removePackage(directory);
  }
}

/** A fault as one sentence. */
export function sentenceOf({ cause, fix }: ToolFault): string {
  return fix === undefined ? cause : `${cause}; ${fix}`;
}
