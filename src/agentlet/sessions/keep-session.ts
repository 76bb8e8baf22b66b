import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { zstdCompress } from "node:zlib";
import { KEPT_SESSION_FILE, KEPT_SESSION_LIMITS } from "../../protocol/kept-session.ts";
import type { KeptSession } from "../../protocol/kept-session.ts";
import type { RunSpec } from "../../protocol/run-spec.ts";
import { PROTOCOL } from "../../protocol/version.ts";
import type { DriverSession } from "../drivers/driver.ts";
import { carry } from "./carrier.ts";
import type { CarrierZone } from "./carrier.ts";
import { ToldFiles } from "./told-files.ts";

export interface SessionToKeep {
  spec: RunSpec;
  driver: DriverSession;
  /** the CLI's own name of its session */
  session: string;
  /** values that no kept file may hold */
  secrets: readonly string[];
}

/**
 * Writes the files of the CLI's session into the run's directory, 0600, whole or not at all. Null when the CLI has written none.
 * Throws what kept it from being kept.
 */
export async function keepSession(
  zone: CarrierZone,
  { spec, driver, session, secrets }: SessionToKeep,
): Promise<KeptSession | null> {
  if (spec.runDir === undefined) return null;
  const patterns = driver.files(session);
  const files = new ToldFiles(patterns);
  const { bytes, files: count } = KEPT_SESSION_LIMITS;
  const words = ["keep", String(bytes), String(count), ...patterns];
  await carry(zone, { words, take: (line) => files.take(line) });
  if (files.count === 0) return null;
  for (const secret of secrets) files.mask(secret);
  const kept: KeptSession = {
    protocol: PROTOCOL,
    run: spec.run,
    runtime: spec.agent.runtime,
    version: spec.agent.version ?? null,
    session,
    workspace: spec.zone.workspace,
    savedAt: new Date().toISOString(),
    files: files.count,
    bytes: files.bytes,
  };
  const archive = await promisify(zstdCompress)(files.archive());
  await writeWhole(join(spec.runDir, KEPT_SESSION_FILE), [
    Buffer.from(`${JSON.stringify(kept)}\n`),
    archive,
  ]);
  return kept;
}

async function writeWhole(path: string, parts: readonly Buffer[]): Promise<void> {
  const draft = `${path}.draft`;
  try {
    await using file = await open(draft, "w", 0o600);
    for (const part of parts) await file.writeFile(part);
    await file.sync();
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}
