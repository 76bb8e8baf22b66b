import * as z from "zod";
import { PublicKey } from "./countersignature.ts";
import { ObjectName } from "./ids.ts";
import { RegisterRun } from "./manager-api.ts";
import { AgentletBoot, RecorderBoot, RunnerBoot } from "./run-spec.ts";
import { ProtocolVersion } from "./version.ts";

/** The pod of a run, as `agentkube pod` names it. */
export const PodOfRun = z.strictObject({
  namespace: ObjectName,
  name: ObjectName,
  serviceAccount: ObjectName,
  uid: z
    .string()
    .regex(/^[A-Za-z0-9-]{1,64}$/)
    .optional()
    .describe("once the pod is made; without it, that of the first container that comes"),
});
export type PodOfRun = z.infer<typeof PodOfRun>;

/**
 * `POST /v1/pods`, operator token: whoever makes the pod of a run announces the run. The manager mints the run's tokens itself, and
 * gives each container its own against the token that Kubernetes put there. How it knows that token is said here: by the hashes of the
 * containers' own tokens, or, for projected ones, by the pod that the API server finds in them.
 */
export const RegisterPod = z
  .strictObject({
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
    tokenHashes: RegisterRun.shape.tokenHashes.optional(),
    pod: PodOfRun.optional(),
  })
  .refine(
    ({ tokenHashes, pod }) => (tokenHashes === undefined) !== (pod === undefined),
    "expected either tokenHashes or pod",
  );
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
