import type { RegisterPod } from "../../protocol/pod-boot.ts";
import { PROTOCOL } from "../../protocol/version.ts";
import { objectNameOf, podNameOf } from "./names.ts";
import type { PodRequest } from "./pod-request.ts";
import { podRunSpec } from "./pod-spec.ts";

/** What the manager is told of a run before its pod is made; how it knows the containers' tokens is for whoever makes the pod to say. */
export function announcementOf(
  request: PodRequest,
): Omit<RegisterPod, "pod" | "tokenHashes"> & { run: string } {
  const { agent, terminal, tools } = podRunSpec(request);
  return {
    protocol: PROTOCOL,
    run: request.run,
    agent: request.agent.metadata.name,
    runtime: agent.runtime,
    mode: agent.mode,
    tools: tools.map(({ name }) => name),
    interactive: false,
    terminal,
  };
}

/** The same for a manager that asks the API server whose a token is. */
export function kubernetesAnnouncementOf(request: PodRequest): RegisterPod {
  const pod = {
    namespace: request.namespace,
    name: podNameOf(request),
    serviceAccount: objectNameOf(request),
  };
  return { ...announcementOf(request), pod };
}
