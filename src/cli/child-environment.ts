/** Variables of the user that our own programs need. Everything else may be a secret and stays with the supervisor. */
const KEPT = [
  "PATH",
  "HOME",
  "USER",
  "LOGNAME",
  "LANG",
  "LC_ALL",
  "TZ",
  "TMPDIR",
  "XDG_RUNTIME_DIR",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "NODE_EXTRA_CA_CERTS",
  "NODE_COMPILE_CACHE",
  "AGENTKUBE_WARM_SANDBOXES",
  "AGENTKUBE_WARM_BLANKS",
  "AGENTKUBE_WARM_PROFILES",
  "AGENTKUBE_WARM_IDLE_SECONDS",
];

/** The environment of manager, agentlet, tool-runner and recorder: a short list, and what `extra` adds. */
export function childEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  extra: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const kept = KEPT.flatMap((name) => {
    const value = env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return { ...Object.fromEntries(kept), ...extra };
}
