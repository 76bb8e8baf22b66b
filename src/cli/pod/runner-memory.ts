import { bytesOf } from "../../protocol/quantities.ts";
import type { Tool } from "../../protocol/tool-manifest.ts";
import { RUN_CALLS } from "../../tool-runner/queue.ts";
import { TOOL_DEFAULTS } from "../../tool-runner/tools.ts";

/** The tool-runner itself, its warm sandboxes and what passes through it: more than twice what was measured (docs/operators.md). */
const OWN_BYTES = 384 * 1024 ** 2;

/**
 * How much memory the tool-runner's container may take: itself, and every call that may run at once with all that its tool may use. One
 * call that takes too much is ended by the tool-runner; a container that does is killed with every call in it.
 */
export function runnerMemoryBytes(tools: readonly Tool[]): number {
  const servers = tools.filter(({ spec }) => spec.mcp !== undefined && spec.mcp.perCall !== true);
  const calls = tools
    .filter((tool) => !servers.includes(tool))
    .flatMap((tool) => {
      const atOnce = Math.min(tool.spec.sandbox?.limits?.calls ?? Infinity, RUN_CALLS.running);
      return Array.from({ length: atOnce }, () => memoryOf(tool));
    })
    .toSorted((one, other) => other - one)
    .slice(0, RUN_CALLS.running);
  return [...servers.map(memoryOf), ...calls].reduce((sum, bytes) => sum + bytes, OWN_BYTES);
}

/** Of one call, or of one server; its scratch is memory too. */
function memoryOf({ spec }: Tool): number {
  const { memory = TOOL_DEFAULTS.memory, scratch = TOOL_DEFAULTS.scratch } =
    spec.sandbox?.limits ?? {};
  return bytesOf(memory) + bytesOf(scratch);
}
