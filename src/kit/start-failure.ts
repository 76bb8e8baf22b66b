import { PlatformError } from "./platform-error.ts";

/** `sandbox_start_failed`: why, where, and what may be done about the two reasons that machines commonly have. */
export function startFailure(
  why: string,
  {
    path,
    isDenied = false,
    isIdMapping = false,
  }: {
    path?: string | undefined;
    /** the kernel does not let this user make namespaces */
    isDenied?: boolean;
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
        : isDenied
          ? "allow unprivileged user namespaces (agentkube doctor shows the kernel's own answers)"
          : "run agentkube doctor to see what this machine lacks",
    },
  );
}
