// Writes OCI archives for tests, also those that no honest tool would write.
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { buffer } from "node:stream/consumers";
import zlib from "node:zlib";
import { pack, type Header } from "tar-stream";

export interface LayerItem extends Partial<Header> {
  name: string;
  data?: string | Buffer;
}
export interface ImageParts {
  layers: (readonly LayerItem[] | Buffer)[];
  compression?: "gzip" | "zstd" | "none";
  labels?: Record<string, string>;
  architecture?: string;
  /** changes the bytes of a blob after its digest was taken */
  damage?: (digest: string, data: Buffer) => Buffer;
  diffId?: string;
  mediaType?: string;
}

/** The bytes of one layer, as written. */
export async function layerOf(items: readonly LayerItem[]): Promise<Buffer> {
  const tar = pack();
  for (const { data, ...header } of items) {
    const type = header.type ?? (header.name.endsWith("/") ? "directory" : "file");
    const body = Buffer.from(data ?? "");
    tar.entry(
      { mode: 0o644, mtime: new Date(0), ...header, type, size: type === "file" ? body.length : 0 },
      type === "file" ? body : "",
    );
  }
  tar.finalize();
  return buffer(tar);
}

/** Writes an OCI image layout archive to `path`; returns the digest of its manifest. */
export async function writeImage(path: string, parts: ImageParts): Promise<string> {
  const blobs = new Map<string, Buffer>();
  const add = (data: Buffer): { digest: string; size: number } => {
    const digest = `sha256:${createHash("sha256").update(data).digest("hex")}`;
    blobs.set(digest, parts.damage?.(digest, data) ?? data);
    return { digest, size: data.length };
  };
  const descriptors = [];
  const diffIds: string[] = [];
  for (const layer of parts.layers) {
    const tar = Buffer.isBuffer(layer) ? layer : await layerOf(layer);
    diffIds.push(parts.diffId ?? `sha256:${createHash("sha256").update(tar).digest("hex")}`);
    const compression = parts.compression ?? "none";
    const data =
      compression === "gzip"
        ? zlib.gzipSync(tar)
        : compression === "zstd"
          ? zlib.zstdCompressSync(tar)
          : tar;
    const suffix = compression === "none" ? "" : `+${compression}`;
    descriptors.push({
      mediaType: parts.mediaType ?? `application/vnd.oci.image.layer.v1.tar${suffix}`,
      ...add(data),
    });
  }
  const config = add(
    Buffer.from(
      JSON.stringify({
        architecture: parts.architecture ?? (process.arch === "x64" ? "amd64" : process.arch),
        os: "linux",
        config: { Env: ["LD_PRELOAD=/evil.so"], Labels: parts.labels },
        rootfs: { type: "layers", diff_ids: diffIds },
      }),
    ),
  );
  const manifest = add(
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
        layers: descriptors,
      }),
    ),
  );
  const archive = pack();
  const written = pipeline(archive, createWriteStream(path));
  archive.entry({ name: "oci-layout" }, JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  for (const [digest, data] of blobs)
    archive.entry({ name: `blobs/sha256/${digest.slice(7)}` }, data);
  archive.entry(
    { name: "index.json" },
    JSON.stringify({
      schemaVersion: 2,
      manifests: [{ mediaType: "application/vnd.oci.image.manifest.v1+json", ...manifest }],
    }),
  );
  archive.finalize();
  await written;
  return manifest.digest;
}
