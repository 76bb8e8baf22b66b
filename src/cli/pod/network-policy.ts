import type { NetworkPolicy } from "kubernetes-types/networking/v1.d.ts";
import { egressOf } from "./egress.ts";
import { objectNameOf } from "./names.ts";
import { labelsOf, type PodRequest } from "./pod-request.ts";

/** What the pod may reach, as `egressOf` says. Nothing may reach the pod. */
export function networkPolicy(request: PodRequest): NetworkPolicy {
  const labels = labelsOf(request);
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: objectNameOf(request), namespace: request.namespace, labels },
    spec: {
      podSelector: {
        matchLabels: { "agentkube.io/run": request.run, "agentkube.io/role": "agent" },
      },
      policyTypes: ["Ingress", "Egress"],
      ingress: [],
      egress: egressOf(request).rules,
    },
  };
}
