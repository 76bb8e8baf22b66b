import { PlatformError } from "../kit/platform-error.ts";

/**
 * What the agent's container is given with `delivery: env`, as base64: the recorder masks it. A Secret that is missing is ours to say,
 * because the recorder is the first to start: throws `secret_missing` that names it.
 */
export function readZoneSecrets(env: NodeJS.ProcessEnv): string[] {
  const secret = env["AGENTKUBE_ZONE_SECRET"] ?? "";
  if (secret !== "") return [Buffer.from(secret).toString("base64")];
  const name = env["AGENTKUBE_ZONE_SECRET_NAME"];
  if (name === undefined) return [];
  throw new PlatformError(
    "secret_missing",
    `Cannot read Secret "${name}": it is not there, has no such key, or is empty`,
    { path: name, fix: "create the Secret with this key in the pod's namespace" },
  );
}
