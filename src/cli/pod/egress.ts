import { isIP } from "node:net";
import type { NetworkPolicyEgressRule } from "kubernetes-types/networking/v1.d.ts";
import type { PodRequest } from "./pod-request.ts";

/** Ways out of a pod. A policy knows addresses, not names: the boundary in the tool-runner knows the names. */
export interface Egress {
  readonly rules: NetworkPolicyEgressRule[];
  /** what no policy can say of this run, a sentence each, with what to do about it */
  readonly notes: string[];
}

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

/** A Service of the cluster, by the names that its DNS has. */
const SERVICE = /^([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?:\.cluster\.local)?\.?$/;

/**
 * Out to the manager, the name servers, the public ports that the run needs, and private addresses that a manifest names. What has a
 * name only is said in a note.
 */
export function egressOf(request: PodRequest): Egress {
  const parts = [manager(request), nameServers(), publicHosts(request), privateHosts(request)];
  return {
    rules: parts.flatMap(({ rules }) => rules),
    notes: parts.flatMap(({ notes }) => notes),
  };
}

function manager(request: PodRequest): Egress {
  const { host, port } = placeOf(request.managerUrl);
  if (isIP(host) !== 0) return { rules: [toAddress(host, port)], notes: [] };
  const [, service, namespace] = SERVICE.exec(host) ?? [];
  if (service === undefined || namespace === undefined)
    return { rules: [], notes: [needsPolicy(request, `the manager at ${host}:${port}`)] };
  const to = [
    {
      namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } },
      podSelector: { matchLabels: { "app.kubernetes.io/name": service } },
    },
  ];
  return { rules: [{ to, ports: [{ protocol: "TCP", port }] }], notes: [] };
}

function nameServers(): Egress {
  const to = [
    { namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "kube-system" } } },
  ];
  const ports = [
    { protocol: "UDP", port: 53 },
    { protocol: "TCP", port: 53 },
  ];
  return { rules: [{ to, ports }], notes: [] };
}

function publicHosts(request: PodRequest): Egress {
  const { network, agentToken, model } = request.agent.spec;
  const isFenced = network === "gateway";
  const ports = new Set(isFenced ? [] : [80, 443]);
  for (const tool of request.tools)
    for (const rule of tool.spec.sandbox?.network ?? [])
      if (rule.private !== true) ports.add(rule.port ?? 443);
  const endpoint = model?.endpoint;
  // Without an endpoint of its own a model is at its provider's; without a key nobody asks it.
  if (endpoint === undefined && agentToken !== undefined) ports.add(443);
  if (endpoint !== undefined && endpoint.private !== true) ports.add(placeOf(endpoint.url).port);
  if (ports.size === 0) return { rules: [], notes: [] };
  const sorted = [...ports].sort((left, right) => left - right);
  const to = [
    { ipBlock: { cidr: "0.0.0.0/0", except: NOT_PUBLIC_4 } },
    { ipBlock: { cidr: "::/0", except: NOT_PUBLIC_6 } },
  ];
  const note = `egress is not fenced by name: the NetworkPolicy opens ${sorted.join(", ")} of all public addresses, which the model or a tool needs, to the whole pod, and so to the agent; a policy that knows names, or an egress proxy, closes them`;
  return {
    rules: [{ to, ports: sorted.map((port) => ({ protocol: "TCP", port })) }],
    notes: isFenced ? [note] : [],
  };
}

function privateHosts(request: PodRequest): Egress {
  const rules: NetworkPolicyEgressRule[] = [];
  const notes: string[] = [];
  for (const { metadata, spec } of request.tools)
    for (const { private: isPrivate, host, address, port = 443 } of spec.sandbox?.network ?? []) {
      if (isPrivate !== true) continue;
      if (address !== undefined) rules.push(toAddress(address, port));
      else
        notes.push(
          `${needsPolicy(request, `host ${host}:${port} of Tool "${metadata.name}"`)}; or give the rule an address`,
        );
    }
  const endpoint = request.agent.spec.model?.endpoint;
  if (endpoint?.private === true) {
    const { host, port } = placeOf(endpoint.url);
    if (isIP(host) !== 0) rules.push(toAddress(host, port));
    else notes.push(needsPolicy(request, `the model's endpoint ${host}:${port}`));
  }
  return { rules, notes };
}

function toAddress(address: string, port: number): NetworkPolicyEgressRule {
  const cidr = `${address}/${isIP(address) === 6 ? 128 : 32}`;
  return { to: [{ ipBlock: { cidr } }], ports: [{ protocol: "TCP", port }] };
}

function needsPolicy({ run, namespace }: PodRequest, what: string): string {
  return `the NetworkPolicy opens no way to ${what}, which has a name and no address: add one in namespace "${namespace}" that lets pods with agentkube.io/run: ${run} out to it`;
}

function placeOf(text: string): { host: string; port: number } {
  const { hostname, port, protocol } = new URL(text);
  const fallback = protocol === "http:" ? 80 : 443;
  return {
    host: hostname.replace(/^\[|\]$/g, ""),
    port: port === "" ? fallback : Number(port),
  };
}
