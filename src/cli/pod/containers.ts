import type {
  Container,
  EnvVar,
  ResourceRequirements,
  SecurityContext,
} from "kubernetes-types/core/v1.d.ts";
import { keyVariableOf } from "../../protocol/runtimes.ts";
import type { ImageMatrix } from "./images.ts";
import { labelled } from "./names.ts";
import { COMMAND_IN_ANY_IMAGE, POD_COMMAND, POD_PATHS, POD_USERS } from "./pod-paths.ts";
import type { PodRequest } from "./pod-request.ts";
import { podLimits } from "./pod-spec.ts";
import { runnerMemoryBytes } from "./runner-memory.ts";
import { runnerNeeds } from "./runner-tier.ts";
import { SMALL_MALLOC } from "../node-options.ts";
import {
  envToken,
  maskedToken,
  modelKeyFile,
  readOnly,
  secretMounts,
  spoolVolumeBytes,
} from "./volumes.ts";

/**
 * The containers of a run. The recorder is the first of the sidecars, so it starts first and stops last; then the folder that
 * the agent's image gets, the root file systems of tools, the tool-runner, and at last the agent.
 */
export function containersOf(
  request: PodRequest,
  images: ImageMatrix,
): { initContainers: Container[]; containers: Container[] } {
  return {
    initContainers: [
      recorder(request, images),
      install(images),
      ...request.tools.map((tool) => toolFiles(tool.metadata.name, images.tool(tool))),
      runner(request, images),
    ],
    containers: [agent(request, images)],
  };
}

/** What `restricted` asks for, and a read-only root. */
function restricted(user: number): SecurityContext {
  return {
    runAsUser: user,
    runAsGroup: user,
    runAsNonRoot: true,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ["ALL"] },
    seccompProfile: { type: "RuntimeDefault" },
  };
}

/** A request beyond its limit is refused by Kubernetes. Local storage is what the container writes to its volumes and its log. */
function resources(
  requests: { cpu: string; memory: string },
  limits: { cpu: string; memory: string; "ephemeral-storage": string },
): ResourceRequirements {
  return { requests: { ...requests, "ephemeral-storage": "64Mi" }, limits };
}

const MEBIBYTE = 1024 ** 2;

function quantity(bytes: number): string {
  return `${Math.ceil(bytes / MEBIBYTE)}Mi`;
}

const SPEC_ENV: EnvVar[] = [
  { name: "AGENTKUBE_RUN_SPEC", value: `${POD_PATHS.spec}/run.json` },
  { name: "AGENTKUBE_TOKEN_FILE", value: `${POD_PATHS.token}/token` },
];
const OWN_ENV: EnvVar[] = [
  ...Object.entries(SMALL_MALLOC).map(([name, value]) => ({ name, value })),
  ...SPEC_ENV,
];
const SPEC_MOUNT = readOnly("spec", POD_PATHS.spec);

function recorder(request: PodRequest, images: ImageMatrix): Container {
  return {
    name: "session-recorder",
    image: images.component("session-recorder"),
    restartPolicy: "Always",
    command: [...POD_COMMAND, "session-recorder"],
    env: [...OWN_ENV, ...maskedToken(request)],
    securityContext: restricted(POD_USERS.recorder),
    resources: resources(
      { cpu: "50m", memory: "96Mi" },
      {
        cpu: "1",
        memory: "256Mi",
        "ephemeral-storage": quantity(spoolVolumeBytes(request) + 1024 * MEBIBYTE),
      },
    ),
    volumeMounts: [
      SPEC_MOUNT,
      readOnly("recorder-token", POD_PATHS.token),
      { name: "frames", mountPath: POD_PATHS.frames },
      { name: "markers", mountPath: POD_PATHS.markers },
      { name: "spool", mountPath: POD_PATHS.spool },
    ],
  };
}

function install(images: ImageMatrix): Container {
  return {
    name: "agentlet-install",
    image: images.component("agentlet"),
    command: [...POD_COMMAND, "install", "/install"],
    securityContext: restricted(POD_USERS.agent),
    resources: resources(
      { cpu: "50m", memory: "64Mi" },
      { cpu: "1", memory: "256Mi", "ephemeral-storage": "512Mi" },
    ),
    volumeMounts: [{ name: "agentkube", mountPath: "/install" }],
  };
}

/** The tool's own image runs our copier once: no tool of ours need be in it, and no code of it runs. */
function toolFiles(name: string, image: string): Container {
  return {
    name: labelled("files", name),
    image,
    command: [`${POD_PATHS.install}/bin/copy-tree`, "/", `/tools/${name}/rootfs`],
    securityContext: restricted(POD_USERS.runner),
    resources: resources(
      { cpu: "50m", memory: "32Mi" },
      { cpu: "1", memory: "64Mi", "ephemeral-storage": "4Gi" },
    ),
    volumeMounts: [
      readOnly("agentkube", POD_PATHS.install),
      { name: "tools", mountPath: "/tools" },
    ],
  };
}

function runner(request: PodRequest, images: ImageMatrix): Container {
  return {
    name: "tool-runner",
    image: images.component("tool-runner"),
    restartPolicy: "Always",
    command: [...POD_COMMAND, "tool-runner"],
    env: [
      ...OWN_ENV,
      { name: "AGENTKUBE_SECRETS_DIR", value: POD_PATHS.secrets },
      ...modelKeyFile(request),
    ],
    securityContext: { ...restricted(POD_USERS.runner), ...runnerNeeds(request).securityContext },
    resources: resources(
      { cpu: "100m", memory: "128Mi" },
      {
        cpu: "2",
        memory: quantity(runnerMemoryBytes(request.tools)),
        "ephemeral-storage": "4Gi",
      },
    ),
    volumeMounts: [
      SPEC_MOUNT,
      readOnly("runner-token", POD_PATHS.token),
      { name: "runner", mountPath: POD_PATHS.runner },
      { name: "state", mountPath: POD_PATHS.state },
      readOnly("markers", POD_PATHS.markers),
      ...(request.tools.length > 0 ? [readOnly("tools", POD_PATHS.tools)] : []),
      ...(request.tools.some((tool) => (tool.spec.sandbox?.workspace ?? "none") !== "none")
        ? [{ name: "workspace", mountPath: POD_PATHS.workspace }]
        : []),
      ...secretMounts(request),
    ],
  };
}

function agent(request: PodRequest, images: ImageMatrix): Container {
  const { spec } = request.agent;
  const { memoryBytes, scratchBytes } = podLimits(request);
  return {
    name: "agent",
    image: images.runtime(spec.runtime, spec.image),
    command: [...COMMAND_IN_ANY_IMAGE, "agentlet"],
    workingDir: POD_PATHS.workspace,
    env: [...SPEC_ENV, ...envToken(request, keyVariableOf(spec.runtime))],
    securityContext: restricted(POD_USERS.agent),
    resources: resources(
      { cpu: "250m", memory: quantity(Math.min(memoryBytes, 512 * MEBIBYTE)) },
      {
        cpu: "2",
        memory: quantity(memoryBytes),
        // Workspace, HOME and /tmp, and what it prints.
        "ephemeral-storage": quantity(scratchBytes + 9 * 1024 * MEBIBYTE),
      },
    ),
    volumeMounts: [
      SPEC_MOUNT,
      readOnly("agentlet-token", POD_PATHS.token),
      readOnly("agentkube", POD_PATHS.install),
      // Connecting to a socket needs no writable mount, and so nobody here can put another in its place.
      readOnly("frames", POD_PATHS.frames),
      readOnly("runner", POD_PATHS.runner),
      { name: "workspace", mountPath: POD_PATHS.workspace },
      { name: "home", mountPath: POD_PATHS.home },
      { name: "tmp", mountPath: "/tmp" },
      { name: "zone", mountPath: POD_PATHS.zone },
    ],
  };
}
