import { homedir } from "node:os";
import { PlatformError } from "../kit/platform-error.ts";
import type { Agent } from "../protocol/agent-manifest.ts";
import { findProgram } from "./resolve-program.ts";
import { runtimeTreeOf, type RuntimeTree } from "./runtime-tree.ts";
import { knownRuntimes } from "../protocol/runtimes.ts";
import { behindShim } from "./version-manager-shims.ts";
import { neverWhole } from "./zone-policy.ts";

/** The system's own part of PATH, inside zone A and where the user has none. */
export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The agent's CLI on this machine, and its arguments. */
export interface AgentProgram extends RuntimeTree {
  readonly args: readonly string[];
  /** its file behind all links */
  readonly real: string;
}

/** Finds the agent's CLI on this machine. Throws `runtime_missing` with how to get it. */
export function resolveAgentProgram(
  agent: Agent,
  workspace: string,
  env: Readonly<Record<string, string | undefined>>,
): AgentProgram {
  const { runtime, command = [] } = agent.spec;
  const known = runtime === "Custom" ? null : knownRuntimes[runtime];
  const name = known === null ? (command[0] ?? "") : known.program;
  const args = known === null ? command.slice(1) : [];
  // Our own parts exist inside the zone only.
  if (name.startsWith("/opt/agentkube/"))
    return { program: name, args, real: name, binds: [], path: [], missing: [] };
  const path = env["PATH"] ?? SYSTEM_PATH;
  const found = findProgram(name, path, workspace);
  if (found === null)
    throw new PlatformError(
      "runtime_missing",
      name.includes("/")
        ? `Cannot find the executable "${name}" of Agent "${agent.metadata.name}"`
        : `Cannot find "${name}" on PATH for Agent "${agent.metadata.name}"`,
      {
        path: name,
        fix:
          known === null
            ? "correct spec.command, or install the program and make it executable"
            : `install it: ${known.install}`,
      },
    );
  const behind = behindShim(found);
  const tree = runtimeTreeOf(behind, {
    path,
    neverWhole: neverWhole(env, env["HOME"] ?? homedir()),
  });
  const [missing] = tree.missing;
  if (missing !== undefined)
    throw new PlatformError(
      "runtime_missing",
      `Cannot find the interpreter "${missing}" that "${found.real}" names`,
      { path: found.real, fix: `install ${missing}, or put it on PATH` },
    );
  return { ...tree, args, real: behind.real };
}
