import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import fs from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { buffer } from "node:stream/consumers";
import { extract, type ExtractEvents } from "tar-stream";
import type * as z from "zod";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import {
  type Descriptor,
  ImageConfig,
  ImageIndex,
  ImageManifest,
  OCI,
  ociArchitecture,
  ROOT_LABEL,
  TOOL_LABEL,
} from "./oci-layout.ts";
import { PACKAGE_LIMITS } from "./packages.ts";

/** One image of an archive: what it is, and where its layers are. */
export interface ArchivedImage {
  /** of the manifest, `sha256:HEX` */
  readonly digest: string;
  readonly config: ImageConfig;
  readonly layers: readonly { descriptor: Descriptor; diffId: string }[];
  /** the Tool that `agentkube tool pack` wrote into it, as JSON; null in other images */
  readonly tool: string | null;
  /** whether the image is a whole root file system, or files for `/opt/tool` */
  readonly ownRoot: boolean;
}

type Source = ExtractEvents["entry"][1];
/** Where the bytes of a digest are; null when the archive lacks them. */
type Blobs = (digest: string) => Promise<Buffer | null>;

const BLOB = /^(?:\.\/)?blobs\/sha256\/([0-9a-f]{64})$/;
const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;
const MAX_KEPT_BYTES = 64 * 1024 * 1024;
const MAX_ENTRIES = 4096;

/** Reads what an OCI archive holds without unpacking it: only its small documents are kept. Throws `image_invalid`. */
export async function inspectArchive(path: string): Promise<ArchivedImage> {
  const documents = new Map<string, Buffer>();
  let kept = 0;
  const index = await readArchive(path, async (hex, entry) => {
    if (entry.header.size > MAX_DOCUMENT_BYTES) return;
    const data = await buffer(entry);
    kept += data.length;
    if (kept > MAX_KEPT_BYTES) throw invalid(path, "holds too many small blobs");
    if (sha256(data) === hex) documents.set(hex, data);
  });
  return findImage(path, index, (digest) => Promise.resolve(documents.get(hexOf(digest)) ?? null));
}

/** Unpacks the blobs of an archive into a directory, each under its digest and checked against it. Throws `image_invalid`. */
export async function extractBlobs(
  path: string,
  dir: string,
  signal: AbortSignal,
): Promise<ArchivedImage> {
  const index = await readArchive(path, async (hex, entry) => {
    const hash = createHash("sha256");
    entry.on("data", (chunk) => hash.update(chunk as Buffer));
    const to = createWriteStream(join(dir, hex), { flags: "wx", mode: 0o600 });
    try {
      await pipeline(entry, to, { signal });
    } catch (error) {
      if (errnoOf(error) === "EEXIST") throw invalid(path, `holds the blob ${hex} twice`);
      throw error;
    }
    if (hash.digest("hex") !== hex)
      throw invalid(path, `has a blob ${hex} whose bytes are not what its name says`);
  });
  return findImage(path, index, async (digest) => {
    const blob = join(dir, hexOf(digest));
    const stat = await fs.stat(blob).catch(() => null);
    return stat === null || stat.size > MAX_DOCUMENT_BYTES ? null : fs.readFile(blob);
  });
}

/** Streams an archive once; gives each blob to `take` and returns `index.json`. */
async function readArchive(
  path: string,
  take: (hex: string, entry: Source) => Promise<void>,
): Promise<Buffer> {
  await refuseOthers(path);
  const tar = extract();
  const source = createReadStream(path);
  source.once("error", (error) => tar.destroy(error));
  source.pipe(tar);
  let index: Buffer | null = null;
  let isLayout = false;
  let entries = 0;
  try {
    for await (const entry of tar) {
      entries += 1;
      if (entries > MAX_ENTRIES) throw invalid(path, `holds more than ${MAX_ENTRIES} entries`);
      const { name, type, size } = entry.header;
      const plain = name.replace(/^\.\//, "");
      const hex = BLOB.exec(name)?.[1];
      if (type === "file" && hex !== undefined) await take(hex, entry);
      else if (type === "file" && plain === "index.json" && size <= MAX_DOCUMENT_BYTES)
        index = await buffer(entry);
      else if (plain === OCI.layout) isLayout = true;
      entry.resume();
    }
  } catch (error) {
    if (error instanceof PlatformError) throw error;
    throw new PlatformError(
      "image_invalid",
      `Image "${path}" is refused: it is not a whole tar archive (${messageOf(error)})`,
      {
        path,
        fix: "make it again with agentkube tool pack, or skopeo copy … oci-archive:FILE",
        cause: error,
      },
    );
  } finally {
    source.destroy();
    tar.destroy();
  }
  if (index === null || !isLayout)
    throw invalid(
      path,
      "is not an OCI image layout: it lacks oci-layout and index.json",
      "convert it: skopeo copy docker-archive:FILE oci-archive:OTHER",
    );
  return index;
}

async function refuseOthers(path: string): Promise<void> {
  const file = await fs.open(path, "r").catch((error: unknown) => {
    throw new PlatformError("image_invalid", `Cannot read image "${path}": ${errnoOf(error)}`, {
      path,
      fix: "give the path of an OCI archive",
      cause: error,
    });
  });
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw invalid(path, "is not a file");
    if (stat.size > PACKAGE_LIMITS.bytes)
      throw invalid(
        path,
        `has ${stat.size} bytes, and at most ${PACKAGE_LIMITS.bytes} (2 GB) are allowed`,
        "build the image with what the tool needs and nothing else",
      );
    const head = Buffer.alloc(4);
    await file.read(head, 0, 4, 0);
    if (head.readUInt16BE(0) === 0x1f8b || head.readUInt32BE(0) === 0x28b52ffd)
      throw invalid(path, "is compressed as a whole", "decompress it first (gunzip, unzstd)");
  } finally {
    await file.close();
  }
}

async function findImage(path: string, index: Buffer, blobs: Blobs): Promise<ArchivedImage> {
  const chosen = await chooseManifest(path, parse(path, "index.json", ImageIndex, index), blobs, 0);
  const manifest = await document(path, ImageManifest, chosen, blobs);
  const config = await document(path, ImageConfig, manifest.config, blobs);
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== manifest.layers.length)
    throw invalid(path, `has ${manifest.layers.length} layers and ${diffIds.length} diff_ids`);
  const labels = config.config?.Labels ?? {};
  const ownRoot = labels[ROOT_LABEL] !== "host";
  if (ownRoot && (config.os !== "linux" || config.architecture !== ociArchitecture(process.arch)))
    throw invalid(
      path,
      `is for ${config.os}/${config.architecture}, and this machine is linux/${ociArchitecture(process.arch)}`,
      `build it for linux/${ociArchitecture(process.arch)}`,
    );
  return {
    digest: chosen.digest,
    config,
    layers: manifest.layers.map((descriptor, at) => ({ descriptor, diffId: diffIds[at] ?? "" })),
    tool: labels[TOOL_LABEL] ?? null,
    ownRoot,
  };
}

/** The one manifest of an index, or the one for this machine. */
async function chooseManifest(
  path: string,
  { manifests }: z.infer<typeof ImageIndex>,
  blobs: Blobs,
  depth: number,
): Promise<Descriptor> {
  const ours = manifests.filter(
    ({ platform }) =>
      platform?.os === "linux" && platform.architecture === ociArchitecture(process.arch),
  );
  const candidates = manifests.length === 1 ? manifests : ours;
  const [only, second] = candidates;
  if (only === undefined || second !== undefined)
    throw invalid(
      path,
      `holds ${manifests.length} images, ${ours.length} of them for linux/${ociArchitecture(process.arch)}`,
      "copy one of them into an archive of its own: skopeo copy oci-archive:FILE:TAG oci-archive:OTHER",
    );
  if (only.mediaType !== OCI.index) return only;
  if (depth > 0) throw invalid(path, "has an index in an index in an index");
  return chooseManifest(path, await document(path, ImageIndex, only, blobs), blobs, depth + 1);
}

async function document<T>(
  path: string,
  schema: z.ZodType<T>,
  { digest, size }: Descriptor,
  blobs: Blobs,
): Promise<T> {
  const data = await blobs(digest);
  if (data === null || data.length !== size || `sha256:${sha256(data)}` !== digest)
    throw invalid(path, `lacks the blob ${digest}, or has other bytes in its place`);
  return parse(path, digest, schema, data);
}

function parse<T>(path: string, what: string, schema: z.ZodType<T>, data: Buffer): T {
  let value: unknown;
  try {
    value = JSON.parse(data.toString("utf8"));
  } catch {
    throw invalid(path, `has ${what}, which is not JSON`);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw invalid(
    path,
    `has ${what} with a wrong ${issue?.path.join(".") ?? "shape"}: ${issue?.message ?? ""}`,
  );
}

function invalid(
  path: string,
  problem: string,
  fix = "make it again with agentkube tool pack, or skopeo copy … oci-archive:FILE",
): PlatformError {
  return new PlatformError("image_invalid", `Image "${path}" is refused: it ${problem}`, {
    path,
    fix,
  });
}

function sha256(data: Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}

function hexOf(digest: string): string {
  return digest.slice("sha256:".length);
}
