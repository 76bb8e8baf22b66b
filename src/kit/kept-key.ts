import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeDirectories } from "./make-directories.ts";
import { createSigningKey, readSigningKey, type SigningKey } from "./signing.ts";

/** The signing key of a container: made at its first start, kept in a volume of its own (0600) over later ones. */
export function keptSigningKey(dir: string): SigningKey {
  const path = join(dir, "signing-seed");
  if (existsSync(path)) return readSigningKey(readFileSync(path, "utf8").trim());
  const key = createSigningKey();
  makeDirectories(dir);
  writeFileSync(path, `${key.seed()}\n`, { mode: 0o600, flag: "wx" });
  return key;
}
