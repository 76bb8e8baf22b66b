import * as z from "zod";
import { Runtime } from "./runtimes.ts";
import { RunId } from "./ids.ts";
import { ProtocolVersion } from "./version.ts";

/** The file in a run's directory that holds what its CLI's session can be resumed from. */
export const KEPT_SESSION_FILE = "session";

/** A session that is larger is not kept. */
export const KEPT_SESSION_LIMITS = { bytes: 64 * 1024 * 1024, files: 2000 };

/** The first line of that file. What follows is zstd: of each file a line of JSON (`path`, `bytes`, `mtimeMs`), then its bytes. */
export const KeptSession = z.strictObject({
  protocol: ProtocolVersion,
  run: RunId.describe("the run whose session this is"),
  runtime: Runtime,
  version: z.string().nullable().describe("version of the CLI; null when it was not known"),
  session: z.string().min(1).max(128).describe("the CLI's own name of the session"),
  workspace: z.string().startsWith("/"),
  savedAt: z.iso.datetime(),
  files: z.int().positive(),
  bytes: z.int().nonnegative().describe("of all files together"),
});
export type KeptSession = z.infer<typeof KeptSession>;
