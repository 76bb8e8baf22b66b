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
}

const PREFIX = "agentkube.io/";
/** The one label of ours that belongs to the user: which Agents share a memory. */
const USERS_OWN = `${PREFIX}agentgroup`;

/** Labels of every object; the user's come first, so that none of them can stand for one of ours. */
export function labelsOf(request: PodRequest): Record<string, string> {
  const own = request.agent.metadata.labels ?? {};
  for (const name of Object.keys(own))
    if (name.startsWith(PREFIX) && name !== USERS_OWN)
      throw new PlatformError(
        "invalid_manifest",
        `Label "${name}" of Agent "${request.agent.metadata.name}" is reserved: network policies select pods by it`,
        {
          path: `metadata.labels.${name}`,
          fix: `remove it; of ${PREFIX} only agentgroup is yours`,
        },
      );
  return {
    ...own,
    "app.kubernetes.io/managed-by": "agentkube",
    "agentkube.io/agent": request.agent.metadata.name,
    "agentkube.io/run": request.run,
    "agentkube.io/role": "agent",
  };
}

/** What the manifests ask for that a pod cannot give. Throws `invalid_manifest`; returns notes on what a pod does otherwise. */
export function checkForPod(request: PodRequest): string[] {
  const { agent, tools } = request;
  for (const tool of tools) {
    const { image, sandbox } = tool.spec;
    if (image === undefined)
      throw new PlatformError(
        "invalid_manifest",
        `Tool "${tool.metadata.name}" has no image, and a pod cannot take a directory of this machine`,
        {
          path: "spec.image",
          fix: "make an image of it with agentkube tool pack, push it, and name it in spec.image",
        },
      );
    const tier = sandbox?.tier ?? "standard";
    if (tier === "pod" || tier === "landlock")
      throw new PlatformError(
        "unsupported",
        `Tool "${tool.metadata.name}" asks for tier ${tier}, which is not yet built`,
        { path: "spec.sandbox.tier", fix: "use standard or strict" },
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
