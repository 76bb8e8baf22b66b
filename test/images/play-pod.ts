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
  /** further changes of one container: what a test breaks */
  alter?: (container: Container) => Container;
}

/** The pod as podman can play it, and the hashes of the tokens that its containers got. */
export interface PlayablePod {
  yaml: string;
  /** how containers are run that `podman kube play` cannot start as they are: name, then the words after `podman run` */
  separately: { name: string; words: string[] }[];
  /** whether the pod asks for a user namespace */
  ownUsers: boolean;
  tokenHashes: Record<"agentlet" | "recorder" | "runner", string>;
  hostDir(volume: string): string;
  /** what the container left for `kubectl describe pod` */
  terminationLog(container: string): string;
}

/** Name of the profile that stands for RuntimeDefault, in the directory that the lab gives as kubelet's seccomp directory. */
const RUNTIME_DEFAULT = "runtime-default.json";

/**
 * Rewrites what `agentkube pod` prints for podman 4.3, and nothing else. What it cannot do, one by one:
 *
 * - sidecars: an init container with `restartPolicy: Always` would block; it becomes a container
 * - projected tokens, Secret volumes, `fsGroup`, volumes in memory with a sticky bit: directories of the host, made as kubelet would
 * - Secrets in variables: their values
 * - `procMount`: a container that asks for it is run by `podman run --pod` with the same words
 * - `seccompProfile`: the old annotation of the same meaning; podman's own default is weaker than containerd's, so that is given by name
 * - `hostUsers: false`: `--userns` of the command line
 * - AppArmor, `supplementalGroups`, resources other than memory: left out
 * - termination messages: a file of the host
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
  const data = hostDir("manager-data");
  mkdirSync(data, { recursive: true });
  chmodSync(data, 0o777);
  volumes.push({ name: "manager-data", hostPath: { path: data, type: "Directory" } });

  const inits = pod.spec.initContainers ?? [];
  const lasting = [...inits.filter(isSidecar), ...pod.spec.containers];
  const logs = join(inputs.dir, "last-words");
  mkdirSync(logs);
  for (const { name } of [...inits, ...lasting]) {
    writeFileSync(join(logs, name), "");
    chmodSync(join(logs, name), 0o666);
    volumes.push({
      name: `last-words-${name}`,
      hostPath: { path: join(logs, name), type: "File" },
    });
  }
  const alter = inputs.alter ?? ((container: Container): Container => container);
  const known = (container: Container): Container => alter(played(container, inputs.secrets));
  const isSeparate = ({ securityContext }: Container): boolean =>
    securityContext?.procMount === "Unmasked";
  const spec: PodSpec = {
    restartPolicy: "Never",
    ...(pod.spec.terminationGracePeriodSeconds === undefined
      ? {}
      : { terminationGracePeriodSeconds: pod.spec.terminationGracePeriodSeconds }),
    volumes,
    initContainers: inits.filter((one) => !isSidecar(one)).map(known),
    containers: [
      managerContainer(inputs.manager),
      ...lasting.filter((one) => !isSeparate(one)).map(known),
    ],
  };
  const annotations = Object.fromEntries(
    [...inits, ...lasting].map(({ name, securityContext }) => [
      `container.seccomp.security.alpha.kubernetes.io/${name}`,
      `localhost/${profileOf(securityContext?.seccompProfile)}`,
    ]),
  );
  const metadata = {
    ...pod.metadata,
    annotations: { ...pod.metadata?.annotations, ...annotations },
  };
  return {
    yaml: stringify(
      { apiVersion: "v1", kind: "Pod", metadata, spec },
      { aliasDuplicateObjects: false },
    ),
    separately: lasting.filter(isSeparate).map((one) => ({
      name: one.name,
      words: runWords(known(one), volumes, profileOf(one.securityContext?.seccompProfile)),
    })),
    ownUsers: pod.spec.hostUsers === false,
    tokenHashes: {
      agentlet: hashes["agentlet"] ?? "",
      recorder: hashes["recorder"] ?? "",
      runner: hashes["runner"] ?? "",
    },
    hostDir,
    terminationLog: (container) => join(logs, container),
  };
}

function isSidecar(container: Container): boolean {
  return container.restartPolicy === "Always";
}

function profileOf(profile: { type?: string; localhostProfile?: string } | undefined): string {
  // podman looks for one name, not for a path of several.
  if (profile?.type === "Localhost") return (profile.localhostProfile ?? "").replaceAll("/", "-");
  return RUNTIME_DEFAULT;
}

/** Without the fields that podman does not know or cannot honour here. */
function played(container: Container, secrets: PodInputs["secrets"]): Container {
  const { restartPolicy: _, securityContext, resources, env, volumeMounts, ...rest } = container;
  const {
    procMount: _proc,
    appArmorProfile: _armor,
    seccompProfile: _seccomp,
    ...security
  } = securityContext ?? {};
  const memory = resources?.limits?.["memory"];
  return {
    ...rest,
    imagePullPolicy: "Never",
    securityContext: security,
    ...(memory === undefined ? {} : { resources: { limits: { memory } } }),
    env: (env ?? []).flatMap(({ name, value = "", valueFrom }) => {
      const ref = valueFrom?.secretKeyRef;
      if (ref === undefined) return [{ name, value }];
      const secret = secrets[ref.name ?? ""]?.[ref.key];
      if (secret !== undefined) return [{ name, value: secret }];
      if (ref.optional !== true) throw new Error(`No Secret ${ref.name}/${ref.key}`);
      return [];
    }),
    volumeMounts: [
      ...(volumeMounts ?? []),
      { name: `last-words-${container.name}`, mountPath: "/dev/termination-log" },
    ],
  };
}

/** The words of `podman run` for a container of this pod: all that it says, and nothing else. */
function runWords(container: Container, volumes: readonly Volume[], profile: string): string[] {
  const { securityContext: own, image = "", command = [], args = [] } = container;
  const words = ["--user", `${own?.runAsUser}:${own?.runAsGroup}`, "--pull", "never"];
  words.push("--security-opt", "unmask=ALL", "--security-opt", `seccomp=PROFILES/${profile}`);
  if (own?.allowPrivilegeEscalation === false) words.push("--security-opt", "no-new-privileges");
  if (own?.readOnlyRootFilesystem === true) words.push("--read-only", "--read-only-tmpfs=false");
  for (const name of own?.capabilities?.drop ?? []) words.push("--cap-drop", name);
  const memory = container.resources?.limits?.["memory"];
  if (memory !== undefined) words.push("--memory", memory.replace(/i$/, "").toLowerCase());
  for (const { name, value = "" } of container.env ?? []) words.push("--env", `${name}=${value}`);
  for (const { name, mountPath, readOnly } of container.volumeMounts ?? []) {
    const from = volumes.find((volume) => volume.name === name)?.hostPath?.path ?? "";
    words.push("--volume", `${from}:${mountPath}${readOnly === true ? ":ro" : ""}`);
  }
  const [entry = "", ...more] = command;
  return [...words, "--entrypoint", entry, image, ...more, ...args];
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
    // kubelet would wait for it without an end.
    else if (volume.secret?.optional !== true) throw new Error(`No Secret for ${volume.name}`);
  }
  return { name: volume.name, hostPath: { path: dir, type: "Directory" } };
}
