import type { SecretSource } from "../protocol/secret-source.ts";
import type { Tool } from "../protocol/tool-manifest.ts";
import type { Placed } from "./manifests/load.ts";
import type { SecretNeed } from "./secrets.ts";

/** The secrets that the credentials of these tools name. */
export function needsOf(tools: readonly Placed<Tool>[]): SecretNeed[] {
  return tools.flatMap(({ value }) =>
    (value.spec.credentials ?? []).map((credential) => ({
      id: `${credential.secretRef.name}/${credential.secretRef.key}`,
      neededBy: `credential "${credential.name}" of Tool "${value.metadata.name}"`,
    })),
  );
}

/** Of all values those of tools, by NAME/KEY: the model key is none of theirs. */
export function toolSecretsOf(
  tools: readonly Placed<Tool>[],
  values: ReadonlyMap<string, Buffer>,
): Map<string, Buffer> {
  const ids = new Set(needsOf(tools).map((need) => need.id));
  return new Map([...values].filter(([id]) => ids.has(id)));
}

/** Where values are read again at every use: by NAME/KEY, and the model key as `model-key`. */
export function sourcesOf(
  tools: readonly Placed<Tool>[],
  modelId: string | undefined,
  sources: ReadonlyMap<string, SecretSource>,
): Record<string, SecretSource> {
  const ids = new Set(needsOf(tools).map((need) => need.id));
  const model = modelId === undefined ? undefined : sources.get(modelId);
  return {
    ...Object.fromEntries([...sources].filter(([id]) => ids.has(id))),
    ...(model === undefined ? {} : { "model-key": model }),
  };
}
