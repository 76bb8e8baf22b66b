import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createSigningKey, readSigningKey, type SigningKey } from "./signing.ts";

/** The signing key of a container: made at its first start, kept in a volume of its own (0600) over later ones. */
export function keptSigningKey(dir: string): SigningKey {
  const path = join(dir, "signing-seed");
  if (existsSync(path)) return readSigningKey(readFileSync(path, "utf8").trim());
  const key = createSigningKey();
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  writeFileSync(path, `${key.seed()}\n`, { mode: 0o600, flag: "wx" });
  return key;
}
