import { PlatformError } from "../kit/platform-error.ts";

/** set-aside.c was there before us: it says so by this name, and has put what was set for the CLI under names that begin with it. */
const ASIDE = "AGENTKUBE_ASIDE";
/** What an engine or Kubernetes adds, and what zone A sets itself. */
const NOT_OF_THE_IMAGE = new Set([
  "HOME",
  "HOSTNAME",
  "OLDPWD",
  "PWD",
  "SHLVL",
  "TERM",
  "container",
]);
const PREFIXES = ["AGENTKUBE_", "KUBERNETES_"];

/** In a pod our own environment is that of the image, with what the pod adds. This is the image's part, for its own programs. */
export function imageEnvironment(
  env: NodeJS.ProcessEnv,
  keyVariable: string,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(cliEnvironment(env)).flatMap(([name, value]) => {
      const isForeign =
        name === keyVariable ||
        NOT_OF_THE_IMAGE.has(name) ||
        PREFIXES.some((prefix) => name.startsWith(prefix));
      return isForeign || value === undefined ? [] : [[name, value]];
    }),
  );
}

/** The model key that a pod with `delivery: env` was given, base64. Throws `secret_missing` when its Secret is not there. */
export function keyOfEnvironment(env: NodeJS.ProcessEnv, keyVariable: string): string {
  const key = cliEnvironment(env)[keyVariable] ?? "";
  if (key !== "") return Buffer.from(key).toString("base64");
  throw new PlatformError(
    "secret_missing",
    `Expected the model key in ${keyVariable}, found none: agentToken.delivery is env, and its Secret is missing or empty`,
    {
      fix: "create the Secret that spec.agentToken.secretRef names, with that key, and start the run again",
    },
  );
}

/** All that was set for the CLI, by its image or by the pod. */
function cliEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  if (env[ASIDE] === undefined) return env;
  const aside = Object.entries(env).flatMap(([name, value]) =>
    name.startsWith(`${ASIDE}_`) ? [[name.slice(ASIDE.length + 1), value]] : [],
  );
  return { PATH: env["PATH"], ...Object.fromEntries(aside) };
}
