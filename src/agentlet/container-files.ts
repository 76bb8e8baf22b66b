import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { nativeProgram } from "../kit/native.ts";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import type { RunSpec } from "../protocol/run-spec.ts";
import { NODE_IN_ZONE, REPORT_PROGRAM } from "./drivers/hooks.ts";
import { SHIM_IN_ZONE, shimFile, shimSource, type ZoneParts } from "./zone.ts";

/**
 * Puts what every CLI finds in zone A where a sandbox would have bound it: the driver's files in HOME, tools on PATH, our helpers.
 * The directories are volumes of this run. Throws `zone_files_failed` that names the path.
 */
export function writeContainerFiles(spec: RunSpec, parts: ZoneParts): void {
  const shims = spec.tools.map((tool) => shimFile(tool.name));
  for (const { path, data, mode } of [...shims, ...parts.files])
    attempt(path, () => {
      writeFileSync(path, data);
      chmodSync(path, mode);
    });
  attempt(NODE_IN_ZONE, () => {
    if (!existsSync(NODE_IN_ZONE)) symlinkSync(parts.nodePath, NODE_IN_ZONE);
  });
  attempt(SHIM_IN_ZONE, () => copyFileSync(shimSource, SHIM_IN_ZONE));
  attempt(REPORT_PROGRAM, () => {
    rmSync(REPORT_PROGRAM, { force: true });
    copyFileSync(nativeProgram("report"), REPORT_PROGRAM);
    chmodSync(REPORT_PROGRAM, 0o755);
  });
}

function attempt(path: string, write: () => void): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    write();
  } catch (error) {
    throw new PlatformError(
      "zone_files_failed",
      `Cannot write "${path}" in the agent's container: ${errnoOf(error) ?? messageOf(error)}`,
      {
        path,
        fix: "mount writable volumes with room at the workspace, HOME and /opt/agentkube, as agentkube pod prints them",
        cause: error,
      },
    );
  }
}
