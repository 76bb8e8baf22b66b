import { PlatformError } from "./platform-error.ts";
import { fixOfRefusal, type Refusal } from "./refusal-fix.ts";

/** `sandbox_start_failed`: why, where, and what may be done about the reasons that machines and containers commonly have. */
export function startFailure(
  why: string,
  {
    path,
    refusal = null,
    isIdMapping = false,
  }: {
    path?: string | undefined;
    /** what was not allowed */
    refusal?: Refusal | null;
    /** the file system cannot show files under another owner */
    isIdMapping?: boolean;
  } = {},
): PlatformError {
  return new PlatformError(
    "sandbox_start_failed",
    `Sandbox did not start: ${why}${path === undefined ? "" : ` at "${path}"`}`,
    {
      ...(path === undefined ? {} : { path }),
      fix: isIdMapping
        ? "its file system cannot show files under another owner; use a directory on ext4, xfs, btrfs or tmpfs, or start agentkube as an ordinary user"
        : ((refusal === null ? null : fixOfRefusal(refusal)) ??
          "run agentkube doctor to see what this machine lacks"),
    },
  );
}
