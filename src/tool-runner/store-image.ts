import { randomBytes } from "node:crypto";
import fs from "node:fs/promises";
import { join } from "node:path";
import { makeDirectories } from "../kit/make-directories.ts";
import { extractBlobs, inspectArchive } from "./oci-archive.ts";
import { findStored, removePackage, storeFilled, type StoredPackage } from "./packages.ts";
import { unpackLayers } from "./unpack-layers.ts";

/**
 * Unpacks an image archive into the store, once: an archive that was unpacked before is found again by the digest of its
 * manifest, and what is found is looked through to its last byte. Throws `image_invalid`; nothing is left behind then.
 */
export async function storeImage(
  archive: string,
  storeDir: string,
  signal: AbortSignal,
): Promise<StoredPackage> {
  makeDirectories(storeDir);
  const { digest } = await inspectArchive(archive);
  const known = await readPointer(storeDir, digest);
  const stored = known === null ? null : await findStored(storeDir, known);
  if (stored !== null) return stored;
  const work = join(storeDir, `.incoming-${randomBytes(8).toString("hex")}`);
  try {
    const [blobs, contents] = [join(work, "blobs"), join(work, "contents")];
    for (const dir of [work, blobs, contents]) await fs.mkdir(dir, { mode: 0o700 });
    const image = await extractBlobs(archive, blobs, signal);
    const unpacked = await storeFilled(storeDir, (target) =>
      unpackLayers(archive, image, { blobs, contents, target }, signal),
    );
    // Of what was unpacked: the archive may have been replaced since it was inspected.
    await writePointer(storeDir, image.digest, unpacked.digest);
    return unpacked;
  } finally {
    await removePackage(work);
  }
}

function pointerOf(storeDir: string, digest: string): string {
  return join(storeDir, `image-${digest.replace(":", "-")}`);
}

async function readPointer(storeDir: string, digest: string): Promise<string | null> {
  const text = await fs.readFile(pointerOf(storeDir, digest), "utf8").catch(() => "");
  return /^sha256:[0-9a-f]{64}$/.test(text) ? text : null;
}

async function writePointer(storeDir: string, digest: string, stored: string): Promise<void> {
  const temporary = `${pointerOf(storeDir, digest)}.${randomBytes(4).toString("hex")}`;
  await fs.writeFile(temporary, stored, { mode: 0o600, flag: "wx" });
  await fs.rename(temporary, pointerOf(storeDir, digest));
}
