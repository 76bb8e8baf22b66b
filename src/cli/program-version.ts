import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** How far above a program its package may begin. */
const MAX_STEPS = 6;

/** The version of a CLI without running it: of the package that its file lies in, else as its path names one. Undefined when neither does. */
export function programVersion(real: string): string | undefined {
  let dir = dirname(real);
  for (let step = 0; step < MAX_STEPS && dir !== "/"; step += 1, dir = dirname(dir)) {
    const manifest = join(dir, "package.json");
    if (!existsSync(manifest)) continue;
    const version = versionIn(manifest);
    if (version !== undefined) return version;
  }
  return /\/v?(\d+\.\d+\.\d+)(?:\/|$)/.exec(real)?.[1];
}

function versionIn(manifest: string): string | undefined {
  try {
    const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version?: unknown };
    return typeof version === "string" && /^\d+(?:\.\d+)*/.test(version)
      ? /^\d+(?:\.\d+)*/.exec(version)?.[0]
      : undefined;
  } catch {
    return undefined;
  }
}
