import type { EnvVar, Volume, VolumeMount } from "kubernetes-types/core/v1.d.ts";
import type { KeyRef } from "../../protocol/manifest.ts";
import { labelled, objectNameOf } from "./names.ts";
import { POD_PATHS } from "./pod-paths.ts";
import type { PodRequest } from "./pod-request.ts";
import { podLimits, spoolQuotaBytes } from "./pod-spec.ts";

/** A token lives an hour and is read again from its file for each connection; kubelet renews it at four fifths of that. */
const TOKEN_SECONDS = 3600;
const MEBIBYTE = 1024 ** 2;
const SHELLS_BYTES = 1024 * MEBIBYTE;

export function readOnly(name: string, mountPath: string): VolumeMount {
  return { name, mountPath, readOnly: true };
}

/** The volumes of a run, each with a bound. Sockets lie in memory, where the sticky bit keeps others from replacing them. */
export function volumesOf(request: PodRequest): Volume[] {
  const scratch = podLimits(request).scratchBytes;
  const half = `${Math.floor(scratch / 2 / 1024 / 1024)}Mi`;
  return [
    { name: "spec", configMap: { name: objectNameOf(request), defaultMode: 0o444 } },
    token("agentlet"),
    token("recorder"),
    token("runner"),
    { name: "agentkube", emptyDir: { sizeLimit: "400Mi" } },
    memory("frames"),
    memory("markers"),
    memory("runner"),
    {
      name: "spool",
      emptyDir: { sizeLimit: `${Math.ceil(spoolVolumeBytes(request) / MEBIBYTE)}Mi` },
    },
    { name: "state", emptyDir: { sizeLimit: "2Gi" } },
    { name: "zone", emptyDir: { sizeLimit: "16Mi" } },
    { name: "workspace", emptyDir: { sizeLimit: "8Gi" } },
    { name: "home", emptyDir: { sizeLimit: half } },
    { name: "tmp", emptyDir: { sizeLimit: half } },
    ...(request.tools.length > 0 ? [{ name: "tools", emptyDir: { sizeLimit: "4Gi" } }] : []),
    ...[...secretsOf(request)].map(([name, keys]) => ({
      name: secretVolume(name),
      secret: {
        secretName: name,
        // The tool-runner names what is missing, and the run ends; a pod that waits for a volume says it nowhere a person looks.
        optional: true,
        defaultMode: 0o440,
        items: [...keys].sort().map((key) => ({ key, path: key })),
      },
    })),
  ];
}

/** Beside the run's own recording those of shells are in it. */
export function spoolVolumeBytes(request: PodRequest): number {
  return spoolQuotaBytes(request) + SHELLS_BYTES;
}

/** The file of the brokered model key, for the tool-runner. */
export function modelKeyFile({ agent }: PodRequest): EnvVar[] {
  const { agentToken } = agent.spec;
  if (agentToken === undefined || agentToken.delivery === "env") return [];
  const { name, key } = agentToken.secretRef;
  return [{ name: "AGENTKUBE_MODEL_KEY_FILE", value: `${POD_PATHS.secrets}/${name}/${key}` }];
}

/** Secrets of tools and the brokered model key: in the tool-runner's container, and in no other. */
export function secretMounts(request: PodRequest): VolumeMount[] {
  return [...secretsOf(request).keys()].map((name) =>
    readOnly(secretVolume(name), `${POD_PATHS.secrets}/${name}`),
  );
}

/** `agentToken.delivery: env`, asked for by name: the one case in which the agent's container is given a secret; the recorder masks it. */
export function envToken({ agent }: PodRequest, variable: string): EnvVar[] {
  const { agentToken } = agent.spec;
  if (agentToken?.delivery !== "env") return [];
  const { name, key } = agentToken.secretRef;
  return [{ name: variable, valueFrom: { secretKeyRef: { name, key, optional: true } } }];
}

/** What the recorder is to mask, and the name of the Secret that it misses when there is none. */
export function maskedToken(request: PodRequest): EnvVar[] {
  const token = envToken(request, "AGENTKUBE_ZONE_SECRET");
  const { name = "", key = "" } = request.agent.spec.agentToken?.secretRef ?? {};
  if (token.length === 0) return [];
  return [...token, { name: "AGENTKUBE_ZONE_SECRET_NAME", value: `${name}/${key}` }];
}

function token(role: "agentlet" | "recorder" | "runner"): Volume {
  const serviceAccountToken = {
    audience: `agentkube-${role}`,
    expirationSeconds: TOKEN_SECONDS,
    path: "token",
  };
  return {
    name: `${role}-token`,
    projected: { defaultMode: 0o440, sources: [{ serviceAccountToken }] },
  };
}

function memory(name: string): Volume {
  return { name, emptyDir: { medium: "Memory", sizeLimit: "16Mi" } };
}

function secretVolume(secret: string): string {
  return labelled("secret", secret);
}

/** The keys that are needed of each Secret: a key that no rule names is not mounted. */
function secretsOf({ agent, tools }: PodRequest): Map<string, Set<string>> {
  const refs: KeyRef[] = tools.flatMap((tool) =>
    (tool.spec.credentials ?? []).map((credential) => credential.secretRef),
  );
  const { agentToken } = agent.spec;
  if (agentToken !== undefined && agentToken.delivery !== "env") refs.push(agentToken.secretRef);
  const secrets = new Map<string, Set<string>>();
  for (const { name, key } of refs) secrets.set(name, (secrets.get(name) ?? new Set()).add(key));
  return secrets;
}
