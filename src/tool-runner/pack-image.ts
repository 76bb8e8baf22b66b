import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import fs from "node:fs/promises";
import { join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { pack, type Pack } from "tar-stream";
import { OCI, ROOT_LABEL, TOOL_LABEL, type Descriptor } from "./oci-layout.ts";
import { entriesOfPackage, type PackageEntry } from "./packages.ts";
import { PACKAGE_DIR, ROOT_NAME, viewOf } from "./sandbox-view.ts";

export interface PackOptions {
  /** a package in the store: read-only, nobody changes it meanwhile */
  readonly packageDir: string | null;
  /** the Tool as JSON, without what names a place of this machine */
  readonly tool: string;
  /** such as `github-issues:latest`: what the image is called where it is loaded */
  readonly reference: string;
  /** `amd64` or `arm64` */
  readonly architecture: string;
  /** a new file, and a directory of ours for what is on its way */
  readonly target: string;
  readonly workDir: string;
}

interface Layer {
  readonly file: string;
  readonly descriptor: Descriptor;
}

// The same input gives the same bytes: no time, no owner, no compressor whose output depends on its version.
const EPOCH = new Date(0);
const CREATED = "1970-01-01T00:00:00Z";

/** Writes a package as an OCI image layout in one tar. Returns the digest of its manifest, `sha256:HEX`. */
export async function packImage(options: PackOptions, signal: AbortSignal): Promise<string> {
  const { packageDir, workDir, target } = options;
  const view = viewOf(packageDir);
  const entries = packageDir === null ? [] : await entriesOfPackage(packageDir);
  const layers: Layer[] = [];
  const add = async (chosen: readonly PackageEntry[], strip: string, prefix: string) => {
    const file = join(workDir, `layer-${layers.length}`);
    const descriptor = await writeLayer(file, packageDir ?? "", chosen, strip, prefix, signal);
    layers.push({ file, descriptor });
  };
  const isRoot = ({ path }: PackageEntry): boolean =>
    path === ROOT_NAME || path.startsWith(`${ROOT_NAME}/`);
  if (view.root !== null) await add(entries.filter(isRoot), ROOT_NAME, "");
  if (view.files !== null)
    await add(
      entries.filter((entry) => view.root === null || !isRoot(entry)),
      "",
      PACKAGE_DIR.slice(1),
    );
  const labels = {
    [TOOL_LABEL]: options.tool,
    [ROOT_LABEL]: view.root === null ? "host" : "own",
  };
  const config = json({
    created: CREATED,
    architecture: options.architecture,
    os: "linux",
    config: { Labels: labels },
    rootfs: { type: "layers", diff_ids: layers.map(({ descriptor }) => descriptor.digest) },
    history: layers.map(() => ({ created: CREATED, created_by: "agentkube tool pack" })),
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: OCI.manifest,
    config: describe(OCI.config, config),
    layers: layers.map(({ descriptor }) => descriptor),
  });
  const described = describe(OCI.manifest, manifest);
  const index = json({
    schemaVersion: 2,
    mediaType: OCI.index,
    manifests: [
      { ...described, annotations: { "org.opencontainers.image.ref.name": options.reference } },
    ],
  });
  const archive = pack();
  const written = pipeline(archive, createWriteStream(target, { flags: "wx" }), { signal });
  const all = async (): Promise<void> => {
    await addBytes(archive, OCI.layout, json({ imageLayoutVersion: "1.0.0" }));
    await addBytes(archive, "index.json", index);
    for (const name of ["blobs/", "blobs/sha256/"]) await addDirectory(archive, name);
    await addBytes(archive, blobName(described.digest), manifest);
    await addBytes(archive, blobName(describe(OCI.config, config).digest), config);
    const seen = new Set<string>();
    for (const { file, descriptor } of layers) {
      if (seen.has(descriptor.digest)) continue;
      seen.add(descriptor.digest);
      await addFile(archive, blobName(descriptor.digest), file, descriptor.size, 0o644);
    }
    archive.finalize();
  };
  await Promise.all([written, all().catch((error: unknown) => archive.destroy(error as Error))]);
  return described.digest;
}

/** One layer as a plain tar, its entries sorted: `strip` is taken off their paths, `prefix` put before. */
async function writeLayer(
  file: string,
  source: string,
  entries: readonly PackageEntry[],
  strip: string,
  prefix: string,
  signal: AbortSignal,
): Promise<Descriptor> {
  const hash = createHash("sha256");
  let size = 0;
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      size += chunk.length;
      done(null, chunk);
    },
  });
  const tar = pack();
  const written = pipeline(tar, counted, createWriteStream(file, { flags: "wx" }), { signal });
  const all = async (): Promise<void> => {
    const above = prefix.split("/").filter(Boolean);
    for (const [at] of above.entries())
      await addDirectory(tar, `${above.slice(0, at + 1).join("/")}/`);
    for (const entry of entries) {
      const inner = strip === "" ? entry.path : entry.path.slice(strip.length + 1);
      if (inner === "") continue;
      await addEntry(
        tar,
        entry,
        join(source, entry.path),
        prefix === "" ? inner : `${prefix}/${inner}`,
      );
    }
    tar.finalize();
  };
  await Promise.all([written, all().catch((error: unknown) => tar.destroy(error as Error))]);
  return { mediaType: OCI.layer, digest: `sha256:${hash.digest("hex")}`, size };
}

async function addEntry(tar: Pack, entry: PackageEntry, from: string, name: string): Promise<void> {
  if (entry.kind === "directory") return addDirectory(tar, `${name}/`);
  if (entry.kind === "link") {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    tar.entry(
      { ...common(name, 0o777), type: "symlink", linkname: entry.target, size: 0 },
      (error) => (error == null ? resolve() : reject(error)),
    );
    return promise;
  }
  const { mode, size } = await fs.stat(from);
  return addFile(tar, name, from, size, (mode & 0o111) === 0 ? 0o644 : 0o755);
}

async function addFile(
  tar: Pack,
  name: string,
  from: string,
  size: number,
  mode: number,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const sink = tar.entry({ ...common(name, mode), type: "file", size }, (error) =>
    error == null ? resolve() : reject(error),
  );
  if (size === 0) sink.end(Buffer.alloc(0));
  else {
    const source = createReadStream(from);
    source.once("error", reject);
    source.pipe(sink);
  }
  return promise;
}

function addBytes(tar: Pack, name: string, data: Buffer): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  tar.entry({ ...common(name, 0o644), type: "file", size: data.length }, data, (error) =>
    error == null ? resolve() : reject(error),
  );
  return promise;
}

function addDirectory(tar: Pack, name: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  tar.entry({ ...common(name, 0o755), type: "directory", size: 0 }, (error) =>
    error == null ? resolve() : reject(error),
  );
  return promise;
}

function common(name: string, mode: number) {
  return { name, mode, mtime: EPOCH, uid: 0, gid: 0, uname: "", gname: "" };
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function describe(mediaType: string, data: Buffer): Descriptor {
  const digest = createHash("sha256").update(data).digest("hex");
  return { mediaType, digest: `sha256:${digest}`, size: data.length };
}

function blobName(digest: string): string {
  return `blobs/sha256/${digest.slice("sha256:".length)}`;
}
