import { createHash } from "node:crypto";
import { realpathSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import type { Tool } from "../protocol/tool-manifest.ts";
import type { RunTool } from "../protocol/run-spec.ts";
import { storePackage, type StoredPackage } from "../tool-runner/packages.ts";
import { storeImage } from "../tool-runner/store-image.ts";
import type { Placed } from "./manifests/load.ts";

/** Where a Tool's package comes from: a directory, or an OCI archive. The path is real. */
export interface PackageSource {
  readonly kind: "directory" | "archive";
  readonly path: string;
}

/** `spec.image` of this form names an archive of this machine; any other is for a registry. */
const ARCHIVE_IMAGE = /^oci-archive:(.+)$/;

/** Where a Tool's package comes from; null when it brings none. Throws `invalid_manifest` when it is missing. */
export function packageSourceOf(tool: Placed<Tool>): PackageSource | null {
  const { package: named, image } = tool.value.spec;
  const { archive, baseDir } = tool.place;
  if (archive !== undefined) return { kind: "archive", path: archive };
  if (named !== undefined) return sourceAt(tool, "package", resolve(baseDir, named));
  if (image === undefined) return null;
  const local = ARCHIVE_IMAGE.exec(image)?.[1];
  if (local === undefined)
    throw new PlatformError(
      "unsupported",
      `Cannot run Tool "${tool.value.metadata.name}" here: image "${image}" is in a registry, and registries need a cluster`,
      {
        fix: "add spec.package, a directory or an OCI archive (skopeo copy docker://IMAGE oci-archive:FILE), or set image: oci-archive:FILE",
      },
    );
  const source = sourceAt(tool, "image", resolve(baseDir, local));
  if (source.kind === "archive") return source;
  throw missing(tool, "image", source.path, "it is a directory");
}

function sourceAt(tool: Placed<Tool>, field: string, path: string): PackageSource {
  try {
    const real = realpathSync(path);
    const stats = statSync(real);
    if (stats.isDirectory()) return { kind: "directory", path: real };
    if (stats.isFile()) return { kind: "archive", path: real };
  } catch (error) {
    throw missing(tool, field, path, errnoOf(error) ?? messageOf(error), error);
  }
  throw missing(tool, field, path, "it is neither a directory nor a file");
}

function missing(
  tool: Placed<Tool>,
  field: string,
  path: string,
  why: string,
  cause?: unknown,
): PlatformError {
  return new PlatformError(
    "invalid_manifest",
    `Cannot use ${field} "${path}" of Tool "${tool.value.metadata.name}": ${why}`,
    {
      path,
      fix: "spec.package is a directory or an OCI archive, relative to the manifest",
      cause,
    },
  );
}

/** Brings a Tool's package into the store, by digest, and returns what the tool-runner is told of the Tool. */
export async function storeTool(
  tool: Placed<Tool>,
  dataDir: string,
  signal: AbortSignal,
): Promise<RunTool> {
  const source = packageSourceOf(tool);
  const stored = source === null ? null : await store(source, join(dataDir, "store"), signal);
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

async function store(
  source: PackageSource,
  storeDir: string,
  signal: AbortSignal,
): Promise<StoredPackage> {
  return source.kind === "directory"
    ? storePackage(source.path, storeDir)
    : storeImage(source.path, storeDir, signal);
}
