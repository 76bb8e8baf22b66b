import type { ConfigMap, Pod, ServiceAccount } from "kubernetes-types/core/v1.d.ts";
import type { NetworkPolicy } from "kubernetes-types/networking/v1.d.ts";
import { POD_GRACE } from "../../protocol/pod-grace.ts";
import { containersOf } from "./containers.ts";
import { ImageMatrix } from "./images.ts";
import { objectNameOf, podNameOf } from "./names.ts";
import { networkPolicy } from "./network-policy.ts";
import { POD_USERS } from "./pod-paths.ts";
import { checkSize, labelsOf, type PodRequest } from "./pod-request.ts";
import { podRunSpec } from "./pod-spec.ts";
import { plainJson } from "./print-objects.ts";
import { runnerNeeds } from "./runner-tier.ts";
import { volumesOf } from "./volumes.ts";

export type PodObject = ServiceAccount | ConfigMap | NetworkPolicy | Pod;

/** What a run may take longer than its own timeout, in seconds, before Kubernetes ends it. */
const DEADLINE_EXTRA = 300;

/** The Kubernetes objects of a run, in the order in which they are made. Throws `invalid_manifest` and `invalid_image`. */
export function podObjects(request: PodRequest): PodObject[] {
  const { namespace, imagePullSecrets = [] } = request;
  const name = objectNameOf(request);
  const labels = labelsOf(request);
  const spec = podRunSpec(request);
  const runSpec = `${plainJson(spec)}\n`;
  checkSize(runSpec);
  const needs = runnerNeeds(request);
  return [
    {
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: { name, namespace, labels },
      automountServiceAccountToken: false,
    },
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name, namespace, labels },
      immutable: true,
      data: { "run.json": runSpec },
    },
    networkPolicy(request),
    {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name: podNameOf(request),
        namespace,
        labels,
        annotations: {
          "agentkube.io/sandbox-tier": needs.tier,
          "agentkube.io/needs-kubernetes": needs.kubernetes,
        },
      },
      spec: {
        os: { name: "linux" },
        restartPolicy: "Never",
        serviceAccountName: name,
        ...(imagePullSecrets.length === 0
          ? {}
          : { imagePullSecrets: imagePullSecrets.map((secret) => ({ name: secret })) }),
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        shareProcessNamespace: false,
        ...needs.pod,
        terminationGracePeriodSeconds: Object.values(POD_GRACE).reduce(
          (sum, part) => sum + part,
          0,
        ),
        activeDeadlineSeconds: Math.ceil((spec.agent.timeoutMs ?? 0) / 1000) + DEADLINE_EXTRA,
        securityContext: {
          runAsNonRoot: true,
          fsGroup: POD_USERS.group,
          fsGroupChangePolicy: "OnRootMismatch",
          seccompProfile: { type: "RuntimeDefault" },
        },
        ...containersOf(request, new ImageMatrix(request.env)),
        volumes: volumesOf(request),
      },
    },
  ];
}
