import * as z from "zod";

/** What an image that `agentkube tool pack` made says of itself, in the labels of its configuration. */
export const TOOL_LABEL = "io.agentkube.tool";
/** `host`: the image has no root file system of its own, its files go to `/opt/tool` beside the host's /usr. */
export const ROOT_LABEL = "io.agentkube.tool.root";

export const OCI = {
  layout: "oci-layout",
  index: "application/vnd.oci.image.index.v1+json",
  manifest: "application/vnd.oci.image.manifest.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar",
} as const;

const Digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, "expected a sha256 digest");

export const Descriptor = z.object({
  mediaType: z.string().max(255),
  digest: Digest,
  size: z.int().nonnegative(),
  platform: z.object({ architecture: z.string(), os: z.string() }).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});
export type Descriptor = z.infer<typeof Descriptor>;

export const ImageIndex = z.object({
  schemaVersion: z.literal(2),
  manifests: z.array(Descriptor).min(1).max(256),
});

export const ImageManifest = z.object({
  schemaVersion: z.literal(2),
  config: Descriptor,
  layers: z.array(Descriptor).max(256),
});
export type ImageManifest = z.infer<typeof ImageManifest>;

/** What of an image's configuration is used. Its environment, user, entry point and working directory are not. */
export const ImageConfig = z.object({
  architecture: z.string(),
  os: z.string(),
  config: z.object({ Labels: z.record(z.string(), z.string()).nullish() }).nullish(),
  rootfs: z.object({ type: z.literal("layers"), diff_ids: z.array(Digest).max(256) }),
});
export type ImageConfig = z.infer<typeof ImageConfig>;

/** `amd64` for `x64`, as images name machines. */
export function ociArchitecture(arch: string): string {
  return arch === "x64" ? "amd64" : arch;
}
