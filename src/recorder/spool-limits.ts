import type { RunSpec } from "../protocol/run-spec.ts";
import type { SpoolOptions } from "./spool.ts";

/** How large a spool gets unless the manifest says otherwise, in bytes. */
const DEFAULT_QUOTA_BYTES = 8 * 1024 ** 3;

/** What a run spec says about the size of each of its spools, and of what is done when one is full. */
export function spoolLimitsOf({
  agent,
}: RunSpec): Pick<SpoolOptions, "quotaBytes" | "keepReserve"> {
  return {
    quotaBytes: agent.spoolQuotaBytes ?? DEFAULT_QUOTA_BYTES,
    keepReserve: agent.whenFull === "gap" || agent.whenFull === "terminate",
  };
}
