import type { RunSpec } from "./run-spec.ts";

/**
 * Permissions of the sockets between the parts of a run. On a laptop all parts are one user's; in a pod each has a user of its own, the
 * directories are mounted read-only for those who only connect, and whoever connects proves a token.
 */
export function socketModeOf(spec: RunSpec): number {
  return spec.zone.kind === "none" ? 0o666 : 0o600;
}
