import { readFileSync } from "node:fs";

/** A step of making a sandbox that the kernel, or a profile before it, did not allow. */
export interface Refusal {
  readonly step: string;
  /** by name, such as `EPERM` */
  readonly errno: string;
  readonly path?: string | undefined;
}

/** What stands between this process and the kernel. */
export interface Confinement {
  /** a seccomp filter is on this process */
  readonly isFiltered: boolean;
  /** of AppArmor; null: none that enforces anything */
  readonly appArmor: string | null;
}

const DENIED = new Set(["EPERM", "EACCES", "ENOSYS"]);
const ANSWERS: Readonly<Record<string, RegExp>> = {
  ENOSYS: /Function not implemented/,
  ENOSPC: /No space left on device/,
  EACCES: /Permission denied/,
  EPERM: /Operation not permitted|No permissions/,
};
const NAMESPACES = /namespace|unshare|clone|maps/;
const PROFILE =
  "in a pod set securityContext.seccompProfile of the container to {type: Localhost, localhostProfile: agentkube/tool-runner.json}, which is images/seccomp-tool-runner.json on the node (podman and docker: --security-opt seccomp=FILE)";
const SYSCTLS =
  "allow user namespaces: sysctl user.max_user_namespaces=15000, on Ubuntu also sysctl kernel.apparmor_restrict_unprivileged_userns=0";

/** Which setting of the machine, or of the pod, to change so that sandboxes can be made; null when the refusal is of no kind we know. */
export function fixOfRefusal(
  { step, errno, path = "" }: Refusal,
  confinement = readConfinement(),
): string | null {
  const { isFiltered, appArmor } = confinement;
  if (NAMESPACES.test(step) && errno === "ENOSPC")
    return "this user has no namespaces left: sysctl user.max_user_namespaces=15000";
  if (!DENIED.has(errno)) return null;
  // Linux has had every call that we use since before our floor: only a filter answers so.
  if (errno === "ENOSYS" || (NAMESPACES.test(step) && isFiltered))
    return `the seccomp profile of this container refuses it: ${PROFILE}`;
  if (/setgroups/.test(step))
    return "start it as an ordinary user: in a pod runAsNonRoot: true and runAsUser: 2200";
  if (NAMESPACES.test(step)) return `${SYSCTLS}; ${PROFILE}`;
  if (errno === "EACCES" && appArmor !== null)
    return `AppArmor's profile "${appArmor}" refuses it: in a pod set securityContext.appArmorProfile of the container to {type: Unconfined}`;
  if (path === "/proc" || path.startsWith("/proc/"))
    return "parts of /proc are masked here: in a pod set securityContext.procMount of the container to Unmasked, and hostUsers: false (podman: --security-opt unmask=ALL, docker: systempaths=unconfined)";
  if (isFiltered) return `the seccomp profile of this container may refuse it: ${PROFILE}`;
  return null;
}

/** The same of a program that says its failures in words, as the C library has them. */
export function refusalIn(said: string): Refusal | null {
  const errno = Object.entries(ANSWERS).find(([, words]) => words.test(said))?.[0];
  return errno === undefined ? null : { step: said, errno };
}

function readConfinement(): Confinement {
  // Other security modules say theirs in another form.
  const profile = /^(.+) \(enforce\)\s*$/.exec(read("/proc/self/attr/current"))?.[1];
  return {
    isFiltered: /^Seccomp:\s+2$/m.test(read("/proc/self/status")),
    appArmor: profile ?? null,
  };
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
