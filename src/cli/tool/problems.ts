import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf, PlatformError } from "../../kit/platform-error.ts";
import type { Tool } from "../../protocol/tool-manifest.ts";
import { checkTool } from "../../tool-runner/local-call.ts";
import { removePackage } from "../../tool-runner/packages.ts";
import { ruleProblems } from "../credential-rules.ts";
import type { Placed } from "../manifests/load.ts";
import { storeTool } from "../store-tools.ts";

/** Everything that keeps a Tool from running here: one sentence each. Copies its package, as a run would, and takes the copy away. */
export async function problemsOf(tool: Placed<Tool>): Promise<string[]> {
  const rules = ruleProblems(tool.value);
  const directory = await mkdtemp(join(tmpdir(), "agentkube-check-"));
  try {
    const stored = await storeTool(tool, directory);
    const named = `Tool "${stored.name}"`;
    const own = checkTool(stored).map(
      ({ path, problem, fix }) =>
        `${named} ${path}: ${problem}${fix === undefined ? "" : `; ${fix}`}`,
    );
    return [...rules, ...own];
  } catch (error) {
    if (!(error instanceof PlatformError)) throw error;
    const fix = error.fix === undefined ? "" : `; ${error.fix}`;
    return [...rules, `${messageOf(error)}${fix}`];
  } finally {
    await removePackage(directory);
  }
}
