import { createHash } from "node:crypto";
import { realpathSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import type { Tool } from "../protocol/tool-manifest.ts";
import type { RunTool } from "../protocol/run-spec.ts";
import { storePackage } from "../tool-runner/packages.ts";
import type { Placed } from "./manifests/load.ts";

/** The real path of a Tool's package directory; null when it brings none. Throws `invalid_manifest` when it is missing. */
export function packageSourceOf(tool: Placed<Tool>): string | null {
  const { package: named, image } = tool.value.spec;
  if (named === undefined) {
    if (image === undefined) return null;
    throw new PlatformError(
      "unsupported",
      `Cannot run Tool "${tool.value.metadata.name}" here: it has only an image, and images need a cluster`,
      { fix: "add spec.package, a directory with the executable" },
    );
  }
  const path = resolve(tool.place.baseDir, named);
  try {
    const real = realpathSync(path);
    if (!statSync(real).isDirectory()) throw new Error("it is not a directory");
    return real;
  } catch (error) {
    throw new PlatformError(
      "invalid_manifest",
      `Cannot use package "${named}" of Tool "${tool.value.metadata.name}": ${errnoOf(error) ?? messageOf(error)}`,
      { path, fix: "spec.package is a directory, relative to the manifest", cause: error },
    );
  }
}

/** Copies a Tool's package into the store, by digest, and returns what the tool-runner is told of the Tool. */
export async function storeTool(tool: Placed<Tool>, dataDir: string): Promise<RunTool> {
  const source = packageSourceOf(tool);
  const stored = source === null ? null : await storePackage(source, join(dataDir, "store"));
  const digest = createHash("sha256")
    .update(JSON.stringify(tool.value.spec))
    .update("\n")
    .update(stored === null ? "" : stored.digest)
    .digest("hex");
  return {
    name: tool.value.metadata.name,
    spec: tool.value.spec,
    packageDir: stored === null ? null : stored.dir,
    digest: `sha256:${digest}`,
  };
}
