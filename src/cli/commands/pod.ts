import { text } from "node:stream/consumers";
import { RunId } from "../../protocol/ids.ts";
import { defineCommand } from "../command.ts";
import { loadManifests } from "../manifests/load.ts";
import { UsageError } from "../output.ts";
import { kubernetesAnnouncementOf } from "../pod/announcement.ts";
import { egressOf } from "../pod/egress.ts";
import { podObjects } from "../pod/pod-objects.ts";
import { checkForPod, type PodRequest } from "../pod/pod-request.ts";
import { printObjects } from "../pod/print-objects.ts";

/** Where a pod finds the manager that `images/agentkube-manager/kubernetes.yaml` makes. */
export const DEFAULT_MANAGER = "http://agentkube-manager.agentkube-system.svc:8082";

/** `agentkube pod`: the Kubernetes objects of a run, as YAML documents or one JSON List. */
export const command = defineCommand({
  name: "pod",
  summary: "print the Kubernetes objects of a run",
  usage: [
    "pod AGENT [TOOL…] [--namespace NS] [--run ID] [--manager URL] [--image-pull-secret NAME]… [--announcement] [--json]",
  ],
  description:
    "ServiceAccount, ConfigMap, NetworkPolicy and Pod, made of the manifests and of AGENTKUBE_IMAGE_* in the environment; the same input gives the same output. Nothing is contacted, and no secret is read: Secrets are named. Kubernetes 1.30 is the least version; what needs more is said in the Pod's annotations.",
  examples: [
    {
      command:
        'agentkube pod agent.yaml tool.yaml --announcement | curl -sS --fail-with-body -H "Authorization: Bearer $OPERATOR_TOKEN" -d @- $MANAGER/v1/pods',
      does: "tells the manager of the run, which it has to know before the pod comes",
    },
    {
      command: "agentkube pod agent.yaml tool.yaml | kubectl create -f -",
      does: "starts it; kubectl apply takes a goal above 256 KiB with --server-side only",
    },
    {
      command: "AGENTKUBE_IMAGE_REGISTRY=registry.example.com/mirror agentkube pod agent.yaml",
      does: "takes all images that are not named otherwise from a mirror",
    },
  ],
  options: {
    namespace: { type: "string", value: "NS", help: "default: the Agent's, else default" },
    run: {
      type: "string",
      value: "ID",
      help: "id of the run, and name of its pod; a later run needs another (default: the Agent's name)",
    },
    manager: {
      type: "string",
      value: "URL",
      help: `as the pod reaches it: an address, or a Service; its pods have app.kubernetes.io/name: SERVICE and listen on the URL's port (default ${DEFAULT_MANAGER})`,
    },
    "image-pull-secret": {
      type: "string",
      multiple: true,
      value: "NAME",
      help: "a Secret of the namespace with which images are pulled",
    },
    announcement: {
      type: "boolean",
      help: "print what the manager is told beforehand instead: the body of POST /v1/pods at a manager with --pod-tokens kubernetes",
    },
  },
  positionals: { min: 1, max: 1024 },
  run: async ({ values, positionals, cwd, env, output, stdin }) => {
    const loaded = loadManifests(
      {
        files: positionals,
        stdin: positionals.includes("-") ? await text(stdin) : null,
        runtime: null,
        goal: null,
        modelEndpoint: null,
        givenSecrets: [],
        pausedToo: true,
      },
      cwd,
    );
    const { agent, goal, tools } = loaded;
    const request: PodRequest = {
      agent,
      goal,
      tools: tools.map((tool) => tool.value),
      namespace: namespaceOf(values.namespace ?? agent.metadata.namespace ?? "default"),
      run: runOf(values.run ?? agent.metadata.name),
      managerUrl: managerOf(values.manager ?? DEFAULT_MANAGER),
      env,
      imagePullSecrets: (values["image-pull-secret"] ?? []).map(secretOf),
    };
    const objects = podObjects(request);
    const notes = [...loaded.warnings, ...checkForPod(request), ...egressOf(request).notes];
    for (const note of notes) output.note(`note: ${note}`);
    if (values.announcement === true) {
      output.stdout.write(`${JSON.stringify(kubernetesAnnouncementOf(request))}\n`);
      return 0;
    }
    if (output.json) output.document({ apiVersion: "v1", kind: "List", items: objects });
    else output.stdout.write(printObjects(objects));
    return 0;
  },
});

function namespaceOf(name: string): string {
  if (/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(name)) return name;
  throw new UsageError(
    `Expected --namespace as lowercase letters, digits and dashes, at most 63, got "${name.slice(0, 80)}"`,
  );
}

function secretOf(name: string): string {
  if (/^(?=.{1,253}$)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/.test(name)) return name;
  throw new UsageError(
    `Expected --image-pull-secret as the name of a Secret, got "${name.slice(0, 80)}"`,
  );
}

function runOf(id: string): string {
  if (RunId.safeParse(id).success) return id;
  throw new UsageError(
    `Expected --run as lowercase letters, digits and dashes, at most 63, got "${id.slice(0, 80)}"`,
  );
}

function managerOf(text: string): string {
  const url = URL.parse(text);
  const isPlain = url !== null && url.pathname === "/" && url.search === "" && url.username === "";
  if (isPlain && (url.protocol === "http:" || url.protocol === "https:")) return url.origin;
  throw new UsageError(
    `Expected --manager as http://HOST:PORT, got "${text.slice(0, 80)}"`,
    `for example ${DEFAULT_MANAGER}`,
  );
}
