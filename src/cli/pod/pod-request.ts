import { PlatformError } from "../../kit/platform-error.ts";
import type { Agent } from "../../protocol/agent-manifest.ts";
import type { Tool } from "../../protocol/tool-manifest.ts";

/** What the objects of a run are made of; the same request gives the same objects, byte for byte. */
export interface PodRequest {
  readonly agent: Agent;
  readonly goal: string | null;
  readonly tools: readonly Tool[];
  readonly namespace: string;
  /** run id, and the value of the label `agentkube.io/run` */
  readonly run: string;
  /** the manager, as the pod reaches it */
  readonly managerUrl: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Secrets with which kubelet pulls the images, in the pod's namespace */
  readonly imagePullSecrets?: readonly string[];
}

const PREFIX = "agentkube.io/";
/** The one label of ours that belongs to the user: which Agents share a memory. */
const USERS_OWN = `${PREFIX}agentgroup`;

/** What the API server takes as the name and the value of a label. */
const LABEL_NAME =
  /^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;
/** The API server takes a ConfigMap of 1 MiB in all; keys and names are in it. */
const MAX_RUN_SPEC_BYTES = 1_000_000;

/** Labels of every object; the user's come first, so that none of them can stand for one of ours. */
export function labelsOf(request: PodRequest): Record<string, string> {
  const own = request.agent.metadata.labels ?? {};
  for (const [name, value] of Object.entries(own)) checkLabel(request.agent, name, value);
  return {
    ...own,
    "app.kubernetes.io/managed-by": "agentkube",
    "agentkube.io/agent": request.agent.metadata.name,
    "agentkube.io/run": request.run,
    "agentkube.io/role": "agent",
  };
}

function checkLabel({ metadata }: Agent, name: string, value: string): void {
  const path = `metadata.labels.${name}`;
  const label = `Label "${name}" of Agent "${metadata.name}"`;
  if (name.startsWith(PREFIX) && name !== USERS_OWN)
    throw new PlatformError(
      "invalid_manifest",
      `${label} is reserved: network policies select pods by it`,
      { path, fix: `remove it; of ${PREFIX} only agentgroup is yours` },
    );
  if (LABEL_NAME.test(name) && LABEL_VALUE.test(value)) return;
  throw new PlatformError(
    "invalid_manifest",
    `${label} is none that Kubernetes takes: ${JSON.stringify(value.slice(0, 80))}`,
    { path, fix: "use letters, digits, dots, dashes and underscores, at most 63" },
  );
}

/** Throws `invalid_manifest` for a run spec that no ConfigMap can hold. */
export function checkSize(runSpec: string): void {
  const bytes = Buffer.byteLength(runSpec);
  if (bytes <= MAX_RUN_SPEC_BYTES) return;
  throw new PlatformError(
    "invalid_manifest",
    `The run spec is ${bytes} bytes, and a ConfigMap holds 1 MiB`,
    { path: "spec.goal", fix: "put the long part of the goal into the workspace or the image" },
  );
}

/** What the manifests ask for that a pod cannot give. Throws `invalid_manifest`; returns notes on what a pod does otherwise. */
export function checkForPod(request: PodRequest): string[] {
  const { agent, tools } = request;
  for (const tool of tools) {
    const tier = tool.spec.sandbox?.tier ?? "standard";
    if (tier === "pod" || tier === "landlock")
      throw new PlatformError(
        "unsupported",
        `Tool "${tool.metadata.name}" asks for tier ${tier}, which is not yet built`,
        { path: "spec.sandbox.tier", fix: "use standard" },
      );
    if (tier === "strict")
      throw new PlatformError(
        "unsupported",
        `Tool "${tool.metadata.name}" asks for tier strict, and a container of a pod has no control groups to make: its tier is standard`,
        { path: "spec.sandbox.tier", fix: "use standard, or run the Agent with agentkube run" },
      );
  }
  if (agent.spec.recording?.enabled === false)
    throw new PlatformError("unsupported", "recording.enabled false is not yet supported", {
      path: "spec.recording.enabled",
      fix: "remove it; every run is recorded",
    });
  const notes: string[] = [];
  if ((agent.spec.mounts ?? []).length > 0)
    notes.push("spec.mounts is for a laptop; in a pod, put these files into the image");
  if (agent.spec.network === "host")
    notes.push("spec.network: host is for a laptop; the pod gets the rules of public");
  return notes;
}
