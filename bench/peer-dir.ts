import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** Where another project's package lies, installed into a cache the first time. Throws with the reason when it cannot be had. */
export function peerDir(peer: string): string {
  const script = fileURLToPath(new URL("../scripts/peers.mjs", import.meta.url));
  const { stdout, status } = spawnSync(process.execPath, [script, peer], { encoding: "utf8" });
  const said = (stdout ?? "").trim().replace(/^[^:]*: /, "");
  if (status !== 0) throw new Error(said);
  return said;
}
