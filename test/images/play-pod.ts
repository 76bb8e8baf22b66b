import { createHash, randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Container, Pod, PodSpec, Volume } from "kubernetes-types/core/v1.d.ts";
import { stringify } from "yaml";
import type { PodObject } from "../../src/cli/pod/pod-objects.ts";

/** What Kubernetes would have put into the pod. */
export interface PodInputs {
  /** on the host, for everything that Kubernetes would have made */
  dir: string;
  /** of the Secrets: NAME → KEY → value */
  secrets: Record<string, Record<string, string>>;
  /** runs beside the others: all of them share the pod's loopback, and there is no other network */
  manager: string;
}

/** The pod as podman can play it, and the hashes of the tokens that its containers got. */
export interface PlayablePod {
  yaml: string;
  tokenHashes: Record<"agentlet" | "recorder" | "runner", string>;
  hostDir(volume: string): string;
}

/**
 * Rewrites what `agentkube pod` prints for podman 4.3, and nothing else. What it cannot do, one by one:
 * sidecars (an init container with `restartPolicy: Always` would block), projected tokens, Secret volumes, volumes in memory with a
 * sticky bit and `fsGroup`, user namespaces, `procMount` and AppArmor fields; and images are those built here.
 */
export function playable(objects: readonly PodObject[], inputs: PodInputs): PlayablePod {
  const pod = objects.find((object): object is Pod => object.kind === "Pod");
  const config = objects.find((object) => object.kind === "ConfigMap");
  if (pod?.spec === undefined || config === undefined || !("data" in config))
    throw new Error("No pod");
  const hashes: Partial<Record<string, string>> = {};
  const hostDir = (volume: string): string => join(inputs.dir, "volumes", volume);
  const volumes = (pod.spec.volumes ?? []).map((volume) =>
    onHost(volume, hostDir(volume.name), inputs, config.data ?? {}, hashes),
  );
  const data = join(inputs.dir, "volumes/manager-data");
  mkdirSync(data, { recursive: true });
  chmodSync(data, 0o777);
  volumes.push({ name: "manager-data", hostPath: { path: data, type: "Directory" } });
  const spec: PodSpec = {
    restartPolicy: "Never",
    ...(pod.spec.terminationGracePeriodSeconds === undefined
      ? {}
      : { terminationGracePeriodSeconds: pod.spec.terminationGracePeriodSeconds }),
    volumes,
    initContainers: (pod.spec.initContainers ?? []).filter((one) => !isSidecar(one)).map(known),
    containers: [
      managerContainer(inputs.manager),
      ...(pod.spec.initContainers ?? []).filter(isSidecar).map(known),
      ...pod.spec.containers.map(known),
    ],
  };
  const played = { apiVersion: "v1", kind: "Pod", metadata: pod.metadata, spec };
  return {
    yaml: stringify(played, { aliasDuplicateObjects: false }),
    tokenHashes: {
      agentlet: hashes["agentlet"] ?? "",
      recorder: hashes["recorder"] ?? "",
      runner: hashes["runner"] ?? "",
    },
    hostDir,
  };
}

function isSidecar(container: Container): boolean {
  return container.restartPolicy === "Always";
}

/** Without the fields that podman does not know or cannot honour here. */
function known(container: Container): Container {
  const { restartPolicy: _, securityContext, resources: _limits, ...rest } = container;
  const {
    procMount: _proc,
    appArmorProfile: _armor,
    seccompProfile: _seccomp,
    ...security
  } = securityContext ?? {};
  return { ...rest, imagePullPolicy: "Never", securityContext: security };
}

function managerContainer(image: string): Container {
  const command = ["/opt/agentkube-bin/bin/tini", "--", "/opt/agentkube-bin/bin/node"];
  return {
    name: "manager",
    image,
    imagePullPolicy: "Never",
    command: [
      ...command,
      "/opt/agentkube-bin/bin/agentkube.js",
      "manager",
      "--data",
      "/data/agentkube",
    ],
    args: ["--port", "8082"],
    securityContext: { runAsUser: 2300, runAsGroup: 2300, readOnlyRootFilesystem: true },
    volumeMounts: [{ name: "manager-data", mountPath: "/data" }],
  };
}

/** A directory of the host in place of what kubelet would have made: same content, open to all users of the pod. */
function onHost(
  volume: Volume,
  dir: string,
  inputs: PodInputs,
  config: Record<string, string>,
  hashes: Partial<Record<string, string>>,
): Volume {
  mkdirSync(dir, { recursive: true });
  // The sticky bit of a volume in memory.
  chmodSync(dir, volume.emptyDir?.medium === "Memory" ? 0o1777 : 0o777);
  const write = (name: string, text: string): void => {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), text, { mode: 0o444 });
  };
  if (volume.configMap !== undefined)
    for (const [name, text] of Object.entries(config)) write(name, text);
  for (const { serviceAccountToken: token } of volume.projected?.sources ?? []) {
    if (token === undefined) continue;
    const value = randomBytes(48).toString("base64url");
    write(token.path, value);
    const role = (token.audience ?? "").replace("agentkube-", "");
    hashes[role] = createHash("sha256").update(value).digest("hex");
  }
  for (const item of volume.secret?.items ?? []) {
    const value = inputs.secrets[volume.secret?.secretName ?? ""]?.[item.key];
    if (value !== undefined) write(item.path, value);
  }
  return { name: volume.name, hostPath: { path: dir, type: "Directory" } };
}
