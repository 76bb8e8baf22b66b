import { PlatformError } from "../kit/platform-error.ts";
import type { AgentSpec, Mode } from "../protocol/agent-manifest.ts";
import { bytesOf, millisecondsOf } from "../protocol/quantities.ts";
import type { RunSpec, Zone } from "../protocol/run-spec.ts";

/** What of a run's agent the manifest says in the same words wherever the run is: on a laptop or in a pod. */
export type AgentOfManifest = Pick<
  RunSpec["agent"],
  | "runtime"
  | "model"
  | "keyDelivery"
  | "recordInput"
  | "recordingEnabled"
  | "whenFull"
  | "spoolQuotaBytes"
  | "approvals"
  | "approvalTimeoutMs"
>;

/** Throws `invalid_manifest` for a duration of nothing, and for answers to questions that this mode does not ask. */
export function agentOfManifest(spec: AgentSpec, mode: Mode): AgentOfManifest & { mode: Mode } {
  refuseUnasked(spec, mode);
  const { runtime, model, agentToken, recording = {}, approvals, approvalTimeout } = spec;
  const { whenFull, quota } = recording;
  return {
    runtime,
    model,
    ...(agentToken?.delivery === "env" ? { keyDelivery: "env" } : {}),
    recordInput: recording.input ?? false,
    recordingEnabled: recording.enabled ?? true,
    ...(whenFull === undefined ? {} : { whenFull }),
    ...(quota === undefined ? {} : { spoolQuotaBytes: bytesOf(quota) }),
    ...(approvals === undefined ? {} : { approvals }),
    ...(approvalTimeout === undefined
      ? {}
      : { approvalTimeoutMs: positive("spec.approvalTimeout", approvalTimeout, "10m") }),
    mode,
  };
}

/** One-shot, a CLI that is known asks nothing and does all: a policy that would not have allowed it must not be passed over. */
function refuseUnasked({ runtime, approvals, approvalTimeout }: AgentSpec, mode: Mode): void {
  if (mode !== "system" || runtime === "Custom") return;
  const isLimiting = approvals !== undefined && approvals !== "allow";
  if (!isLimiting && approvalTimeout === undefined) return;
  const path = isLimiting ? "spec.approvals" : "spec.approvalTimeout";
  throw new PlatformError(
    "invalid_manifest",
    `${path}: without effect in mode system, in which ${runtime} is asked nothing and may do all that zone A lets it`,
    { path, fix: `set spec.mode: supervised, or remove ${path.slice("spec.".length)}` },
  );
}

/** Bounds of the zone in which the agent runs, with what they are where the manifest is silent. */
export function limitsOfManifest({
  limits = {},
}: AgentSpec): Pick<Zone, "memoryBytes" | "processes" | "scratchBytes"> {
  const { memory = "4Gi", processes = 512, scratch = "2Gi" } = limits;
  return { memoryBytes: bytesOf(memory), processes, scratchBytes: bytesOf(scratch) };
}

/** Milliseconds of a duration of the manifest. Throws `invalid_manifest` when it is nothing. */
export function positive(path: string, duration: string, example: string): number {
  const milliseconds = millisecondsOf(duration);
  if (milliseconds > 0) return milliseconds;
  throw new PlatformError("invalid_manifest", `${path}: expected more than 0`, {
    path,
    fix: `write for example ${path.slice(path.lastIndexOf(".") + 1)}: ${example}`,
  });
}
