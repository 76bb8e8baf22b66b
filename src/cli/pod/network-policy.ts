import { isIPv6 } from "node:net";
import type { NetworkPolicy, NetworkPolicyEgressRule } from "kubernetes-types/networking/v1.d.ts";
import { objectNameOf } from "./names.ts";
import type { PodRequest } from "./pod-request.ts";
import { labelsOf } from "./pod-request.ts";

/** Not public: private networks, carriers' NAT, link-local with the metadata services, loopback, multicast and reserved. */
const NOT_PUBLIC_4 = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "224.0.0.0/3",
];
const NOT_PUBLIC_6 = ["::/127", "fc00::/7", "fe80::/10", "ff00::/8"];

/**
 * What the pod may reach: the manager, name servers, the public hosts' ports that tools, model and `network: public` use, and
 * private addresses that a manifest names. Nothing may reach the pod. A policy knows addresses, not names: the boundary
 * in the tool-runner knows the names.
 */
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
      egress: [manager(request), nameServers(), publicHosts(request), ...privateHosts(request)],
    },
  };
}

function manager({ managerUrl }: PodRequest): NetworkPolicyEgressRule {
  const { port, protocol } = new URL(managerUrl);
  return {
    to: [
      {
        namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "agentkube-system" } },
        podSelector: { matchLabels: { "app.kubernetes.io/name": "agentkube-manager" } },
      },
    ],
    ports: [{ protocol: "TCP", port: port === "" ? defaultPort(protocol) : Number(port) }],
  };
}

function nameServers(): NetworkPolicyEgressRule {
  return {
    to: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "kube-system" } } }],
    ports: [
      { protocol: "UDP", port: 53 },
      { protocol: "TCP", port: 53 },
    ],
  };
}

function publicHosts(request: PodRequest): NetworkPolicyEgressRule {
  const ports = new Set([443]);
  if (request.agent.spec.network !== "gateway") ports.add(80);
  for (const tool of request.tools)
    for (const rule of tool.spec.sandbox?.network ?? [])
      if (rule.private !== true) ports.add(rule.port ?? 443);
  const endpoint = request.agent.spec.model?.endpoint;
  if (endpoint !== undefined && endpoint.private !== true) ports.add(portOf(endpoint.url));
  return {
    to: [
      { ipBlock: { cidr: "0.0.0.0/0", except: NOT_PUBLIC_4 } },
      { ipBlock: { cidr: "::/0", except: NOT_PUBLIC_6 } },
    ],
    ports: [...ports]
      .sort((left, right) => left - right)
      .map((port) => ({ protocol: "TCP", port })),
  };
}

/** Private hosts of tools with an address; a private host without one is for a policy of the cluster's own. */
function privateHosts({ tools }: PodRequest): NetworkPolicyEgressRule[] {
  const rules = tools.flatMap((tool) => tool.spec.sandbox?.network ?? []);
  return rules.flatMap(({ private: isPrivate, address, port }) => {
    if (isPrivate !== true || address === undefined) return [];
    const cidr = `${address}/${isIPv6(address) ? 128 : 32}`;
    return [{ to: [{ ipBlock: { cidr } }], ports: [{ protocol: "TCP", port: port ?? 443 }] }];
  });
}

function portOf(url: string): number {
  const { port, protocol } = new URL(url);
  return port === "" ? defaultPort(protocol) : Number(port);
}

function defaultPort(protocol: string): number {
  return protocol === "http:" ? 80 : 443;
}
