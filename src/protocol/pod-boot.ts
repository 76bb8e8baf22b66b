import * as z from "zod";
import { PublicKey } from "./countersignature.ts";
import { RegisterRun } from "./manager-api.ts";
import { AgentletBoot, RecorderBoot, RunnerBoot } from "./run-spec.ts";
import { ProtocolVersion } from "./version.ts";

/**
 * `POST /v1/pods`, operator token: whoever makes the pod of a run announces the run. The manager mints the run's tokens itself, and
 * gives each container its own against the token that Kubernetes put there. The hashes are those of the containers' own tokens.
 */
export const RegisterPod = z.strictObject({
  ...RegisterRun.pick({
    protocol: true,
    run: true,
    agent: true,
    runtime: true,
    mode: true,
    tools: true,
    terminal: true,
    interactive: true,
  }).shape,
  tokenHashes: RegisterRun.shape.tokenHashes,
});
export type RegisterPod = z.infer<typeof RegisterPod>;

/** The containers of a pod that the manager knows. */
export const PodRole = z.enum(["agentlet", "recorder", "runner"]);
export type PodRole = z.infer<typeof PodRole>;

/** `POST /v1/runs/{run}/boot`, the container's own token: what the supervisor would have said on standard input. */
export const BootRequest = z.strictObject({
  protocol: ProtocolVersion,
  role: PodRole,
  key: PublicKey.optional().describe(
    "of runner and recorder: the public half of the key that signs its receipts or checkpoints, made in its container; once told, it is the run's",
  ),
});
export type BootRequest = z.infer<typeof BootRequest>;

/** The answers. No secret of a tool or a model is in them: those are mounted in the tool-runner's container. */
export const BootAnswers = {
  agentlet: AgentletBoot.omit({ modelKey: true }),
  recorder: RecorderBoot.omit({ zoneSecrets: true, signingSeed: true }),
  runner: RunnerBoot.pick({ runnerToken: true, agentToken: true, auditKey: true }),
} as const;
