import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import fs from "node:fs/promises";
import { join } from "node:path";
import { PassThrough, Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import zlib from "node:zlib";
import { extract, type Header } from "tar-stream";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import { imageInvalid, ImageTree, type TreeStep } from "./image-tree.ts";
import type { ArchivedImage } from "./oci-archive.ts";
import { PACKAGE_LIMITS } from "./packages.ts";
import { ROOT_NAME } from "./sandbox-view.ts";

/** Where an image is unpacked: three directories of ours, on one file system, that nobody else writes to. */
export interface UnpackPlaces {
  /** blobs by digest */
  readonly blobs: string;
  /** contents of files by number */
  readonly contents: string;
  /** becomes the package; empty */
  readonly target: string;
}

/** Headers and padding of the most entries that are allowed. */
const LAYER_BYTES = PACKAGE_LIMITS.bytes + PACKAGE_LIMITS.entries * 2 * 1024;

/**
 * Unpacks the layers of an image into a package: with a root of its own into `rootfs/`, else what lies in `/opt/tool`.
 * `image` names the archive in messages. Throws `image_invalid`; the target is then not to be used.
 */
export async function unpackLayers(
  image: string,
  archived: ArchivedImage,
  places: UnpackPlaces,
  signal: AbortSignal,
): Promise<void> {
  const tree = new ImageTree(image);
  const counter = { contents: 0, bytes: 0 };
  for (const { descriptor, diffId } of archived.layers) {
    const blob = join(places.blobs, descriptor.digest.slice("sha256:".length));
    const hash = createHash("sha256");
    tree.nextLayer();
    try {
      await pipeline(
        createReadStream(blob),
        decoderOf(image, descriptor.mediaType),
        counted(image, hash, counter),
        async (source: AsyncIterable<Buffer>) =>
          readLayer(image, Readable.from(source, { objectMode: false }), tree, places, counter),
        { signal },
      );
    } catch (error) {
      if (error instanceof PlatformError || signal.aborted) throw error;
      throw imageInvalid(
        image,
        descriptor.digest,
        `is not a layer that can be read (${messageOf(error)})`,
      );
    }
    if (`sha256:${hash.digest("hex")}` !== diffId)
      throw imageInvalid(image, descriptor.digest, "holds other bytes than its diff_id says");
  }
  await build(image, tree, archived.ownRoot, places);
}

async function build(
  image: string,
  tree: ImageTree,
  ownRoot: boolean,
  { contents, target }: UnpackPlaces,
): Promise<void> {
  if (ownRoot) {
    await fs.mkdir(join(target, ROOT_NAME), { mode: 0o700 });
    return makeAll(tree.steps([]) ?? [], contents, join(target, ROOT_NAME));
  }
  const strange =
    tree.topOf([]).find((name) => name !== "opt") ??
    tree.topOf(["opt"]).find((name) => name !== "tool");
  const steps = tree.steps(["opt", "tool"]);
  if (strange !== undefined || steps === null)
    throw imageInvalid(
      image,
      strange ?? "opt/tool",
      strange === undefined
        ? "is missing"
        : "lies outside of /opt/tool, in an image without a root of its own",
    );
  return makeAll(steps, contents, target);
}

/** Every parent is a directory made here, in a place of ours; contents move in, and have one name or more. */
async function makeAll(steps: readonly TreeStep[], contents: string, root: string): Promise<void> {
  const placed = new Map<number, string>();
  for (const step of steps) {
    const path = join(root, step.path);
    if (step.kind === "directory") await fs.mkdir(path, { mode: 0o700 });
    else if (step.kind === "link") await fs.symlink(step.target, path);
    else {
      const before = placed.get(step.content);
      if (before !== undefined) await linkOrCopy(before, path);
      else {
        await fs.rename(join(contents, String(step.content)), path);
        await fs.chmod(path, step.executable ? 0o555 : 0o444);
        placed.set(step.content, path);
      }
    }
  }
}

/** A file system gives a file only so many names. */
async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await fs.link(from, to);
  } catch (error) {
    if (errnoOf(error) !== "EMLINK") throw error;
    await fs.copyFile(from, to);
  }
}

async function readLayer(
  image: string,
  source: Readable,
  tree: ImageTree,
  { contents }: UnpackPlaces,
  counter: { contents: number },
): Promise<void> {
  const tar = extract();
  source.once("error", (error) => tar.destroy(error));
  source.pipe(tar);
  for await (const entry of tar) {
    const { header } = entry;
    const kind = kindOf(image, header);
    if (kind === null) {
      entry.resume();
      continue;
    }
    let content = -1;
    if (kind === "file") {
      content = counter.contents;
      counter.contents += 1;
      const to = createWriteStream(join(contents, String(content)), { flags: "wx", mode: 0o600 });
      await pipeline(entry, to);
    } else entry.resume();
    tree.add({
      name: header.name,
      kind,
      target: header.linkname ?? "",
      executable: ((header.mode ?? 0) & 0o111) !== 0,
      content,
      bytes: header.size ?? 0,
    });
  }
}

/** What an entry becomes; null for what is left out. Special files are refused, but for those of /dev, which the sandbox has its own of. */
function kindOf(
  image: string,
  header: Header,
): "file" | "directory" | "symlink" | "hardlink" | null {
  const pax = (header.pax ?? {}) as Record<string, string>;
  if (Object.keys(pax).some((key) => key.startsWith("GNU.sparse.")))
    throw imageInvalid(image, header.name, "is a sparse file, which is not supported");
  switch (header.type) {
    case "file":
    case "contiguous-file":
      return header.name.endsWith("/") ? "directory" : "file";
    case "directory":
      return "directory";
    case "symlink":
      return "symlink";
    case "link":
      return "hardlink";
    case "character-device":
    case "block-device":
    case "fifo":
      // The sandbox has a /dev of its own, and no node is ever made.
      if (/^(?:\.\/)?dev\/[^/]+$/.test(header.name) && header.type !== "fifo") return null;
      throw imageInvalid(image, header.name, `is a ${header.type}`);
    // A type that tar-stream does not know.
    default:
      throw imageInvalid(image, header.name, "is neither a file, a directory nor a link");
  }
}

function decoderOf(image: string, mediaType: string): Transform {
  if (/[.+]nondistributable|foreign/.test(mediaType))
    throw imageInvalid(image, mediaType, "is the type of a layer that lies elsewhere");
  if (mediaType.endsWith(".tar")) return new PassThrough();
  if (/[.+]gzip$/.test(mediaType)) return zlib.createGunzip();
  if (mediaType.endsWith("+zstd")) return zlib.createZstdDecompress();
  throw imageInvalid(
    image,
    mediaType,
    "is the type of a layer that is not known; tar, gzip and zstd are",
  );
}

/** Hashes what passes, and stops a bomb. */
function counted(
  image: string,
  hash: ReturnType<typeof createHash>,
  counter: { bytes: number },
): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      counter.bytes += chunk.length;
      hash.update(chunk);
      if (counter.bytes > LAYER_BYTES)
        done(
          imageInvalid(
            image,
            "its layers",
            `unpack to more than ${PACKAGE_LIMITS.bytes} bytes (2 GB)`,
          ),
        );
      else done(null, chunk);
    },
  });
}
