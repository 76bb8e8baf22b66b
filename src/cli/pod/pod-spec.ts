import { createHash } from "node:crypto";
import { PlatformError } from "../../kit/platform-error.ts";
import type { Agent } from "../../protocol/agent-manifest.ts";
import { bytesOf } from "../../protocol/quantities.ts";
import type { RunSpec, RunTool, Zone } from "../../protocol/run-spec.ts";
import type { Tool } from "../../protocol/tool-manifest.ts";
import { PROTOCOL } from "../../protocol/version.ts";
import { agentOfManifest, limitsOfManifest, positive } from "../agent-part.ts";
import { SYSTEM_PATH } from "../agent-program.ts";
import { knownRuntimes } from "../../protocol/runtimes.ts";
import { POD_PATHS } from "./pod-paths.ts";
import type { PodRequest } from "./pod-request.ts";

/** How long a run may take when the Agent does not say. */
const DEFAULT_TIMEOUT = "24h";
const DEFAULT_SPOOL_QUOTA = "4Gi";

/** What the pod's own parts take of the agent's container, and the least that is left for the CLI. */
const LEAST_MEMORY = 256 * 1024 ** 2;
const LEAST_SCRATCH = 64 * 1024 ** 2;

/** Bounds of the agent's container; what the Agent does not name is as on a laptop. */
export function podLimits({
  agent,
}: PodRequest): Pick<Zone, "memoryBytes" | "processes" | "scratchBytes"> {
  const { memoryBytes, processes, scratchBytes } = limitsOfManifest(agent.spec);
  return {
    memoryBytes: atLeast("memory", memoryBytes, LEAST_MEMORY),
    processes,
    scratchBytes: atLeast("scratch", scratchBytes, LEAST_SCRATCH),
  };
}

/** How large the recorder's file gets. Its volume is larger: kubelet ends a pod whose volume outgrows its limit, with no word said. */
export function spoolQuotaBytes({ agent }: PodRequest): number {
  return bytesOf(agent.spec.recording?.quota ?? DEFAULT_SPOOL_QUOTA);
}

function atLeast(limit: "memory" | "scratch", bytes: number, least: number): number {
  if (bytes >= least) return bytes;
  throw new PlatformError(
    "invalid_manifest",
    `Limit ${limit} of ${bytes} bytes is too small for a pod, whose agentlet shares it`,
    { path: `spec.limits.${limit}`, fix: `give it at least ${least / 1024 ** 2}Mi` },
  );
}

/** The run spec of a pod: what `AGENTKUBE_RUN_SPEC` names in all three containers. */
export function podRunSpec(request: PodRequest): RunSpec {
  const { agent, tools } = request;
  const { spec } = agent;
  return {
    protocol: PROTOCOL,
    run: request.run,
    agentName: agent.metadata.name,
    epoch: 0,
    manager: { url: request.managerUrl },
    sockets: {
      recorder: `${POD_PATHS.frames}/frames.sock`,
      markers: `${POD_PATHS.markers}/markers.sock`,
      runner: `${POD_PATHS.runner}/runner.sock`,
    },
    runtimeDir: POD_PATHS.state,
    // The volume itself cannot be removed, a directory in it can.
    spoolDir: `${POD_PATHS.spool}/run`,
    agent: {
      ...agentOfManifest(spec, spec.mode ?? "system"),
      goal: request.goal,
      argv: argvOf(agent),
      timeoutMs: positive("spec.timeout", spec.timeout ?? DEFAULT_TIMEOUT, "30m"),
      spoolQuotaBytes: spoolQuotaBytes(request),
    },
    terminal: { cols: 120, rows: 40 },
    zone: {
      kind: "none",
      network: spec.network === "gateway" ? "gateway" : "public",
      workspace: POD_PATHS.workspace,
      binds: [],
      ...podLimits(request),
    },
    tools: tools.map(runTool),
    modelEndpoint: spec.model?.endpoint ?? null,
    shellPath: SYSTEM_PATH,
  };
}

/** The CLI as its image finds it: by name on PATH, or as `spec.command` says. */
function argvOf({ spec }: Agent): string[] {
  if (spec.runtime === "Custom") return [...(spec.command ?? [])];
  return [knownRuntimes[spec.runtime].program];
}

function runTool(tool: Tool): RunTool {
  const name = tool.metadata.name;
  const digest = createHash("sha256")
    .update(JSON.stringify(tool.spec))
    .update("\n")
    .update(tool.spec.image ?? "")
    .digest("hex");
  return {
    name,
    spec: tool.spec,
    packageDir: `${POD_PATHS.tools}/${name}`,
    digest: `sha256:${digest}`,
  };
}
