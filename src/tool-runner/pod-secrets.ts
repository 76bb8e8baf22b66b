import { readFileSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import type { SecretSource } from "../protocol/secret-source.ts";
import type { RunSpec } from "../protocol/run-spec.ts";

/** What a pod mounts for the tool-runner. Kubernetes swaps these files when a Secret changes: they are read again at every use. */
export interface PodSecrets {
  /** NAME/KEY to base64 */
  readonly secrets: Record<string, string>;
  readonly modelKey: string | null;
  readonly sources: Record<string, SecretSource>;
}

/**
 * Reads the Secrets of a run's tools from `dir/NAME/KEY`, as Kubernetes mounts them, and the model key from its own file. Throws
 * `secret_missing` that names the Secret, never a value.
 */
export function readPodSecrets(
  spec: RunSpec,
  { dir, modelKeyFile }: { dir: string; modelKeyFile: string | undefined },
): PodSecrets {
  const refs = spec.tools.flatMap((tool) =>
    (tool.spec.credentials ?? []).map(({ secretRef }) => `${secretRef.name}/${secretRef.key}`),
  );
  const files = [...new Set(refs)].map((id) => [id, join(dir, id)] as const);
  const secrets = Object.fromEntries(files.map(([id, path]) => [id, readSecret(path, id)]));
  const modelKey = modelKeyFile === undefined ? null : readSecret(modelKeyFile, idOf(modelKeyFile));
  if (modelKeyFile !== undefined) files.push(["model-key", modelKeyFile]);
  const sources = Object.fromEntries(
    files.map(([id, path]) => [id, { from: "file", path } satisfies SecretSource]),
  );
  return { secrets, modelKey, sources };
}

/** NAME/KEY, of which the path of a mounted Secret ends. */
function idOf(path: string): string {
  return path.split("/").slice(-2).join("/");
}

function readSecret(path: string, id: string): string {
  try {
    return readFileSync(path).toString("base64");
  } catch (error) {
    throw new PlatformError(
      "secret_missing",
      `Cannot read Secret "${id}": ${errnoOf(error) ?? messageOf(error)}`,
      { path, fix: "create the Secret with this key in the pod's namespace", cause: error },
    );
  }
}
