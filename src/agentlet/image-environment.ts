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
    Object.entries(env).flatMap(([name, value]) => {
      const isForeign =
        name === keyVariable ||
        NOT_OF_THE_IMAGE.has(name) ||
        PREFIXES.some((prefix) => name.startsWith(prefix));
      return isForeign || value === undefined ? [] : [[name, value]];
    }),
  );
}
