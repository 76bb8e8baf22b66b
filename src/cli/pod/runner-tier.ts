import type { SecurityContext } from "kubernetes-types/core/v1.d.ts";
import type { PodRequest } from "./pod-request.ts";

/** What the tool-runner's container asks for beyond `restricted`, and the sandbox tier that follows. */
export interface RunnerNeeds {
  readonly tier: "none" | "standard";
  readonly securityContext: SecurityContext;
  readonly pod: { readonly hostUsers?: boolean };
  /** the least Kubernetes version that has all of it */
  readonly kubernetes: string;
}

/**
 * A sandbox needs namespaces (which RuntimeDefault refuses) and a `/proc` of its own (which a masked one forbids); Kubernetes allows
 * the unmasked one only in a user namespace. Without tools nothing is asked for. The profile is `images/seccomp-tool-runner.json`.
 */
export function runnerNeeds({ tools }: PodRequest): RunnerNeeds {
  if (tools.length === 0) return { tier: "none", securityContext: {}, pod: {}, kubernetes: "1.30" };
  return {
    tier: "standard",
    securityContext: {
      procMount: "Unmasked",
      seccompProfile: { type: "Localhost", localhostProfile: "agentkube/tool-runner.json" },
      appArmorProfile: { type: "Unconfined" },
    },
    pod: { hostUsers: false },
    kubernetes: "1.33",
  };
}
