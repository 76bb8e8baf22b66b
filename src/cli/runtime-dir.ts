import { mkdtempSync, realpathSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";

/** sun_path holds 108 bytes with its NUL. */
const MAX_SOCKET_PATH = 107;
const LONGEST_NAME = "/agentkube-XXXXXX/mark.sock";

/** The private directory of a run's sockets and run spec. Disposing it removes it with all that lies in it. */
export interface RuntimeDir extends Disposable {
  readonly path: string;
}

/** Makes `$XDG_RUNTIME_DIR/agentkube-XXXXXX`, or the same in /tmp where that is missing, not ours or too long. */
export function openRuntimeDir(env: Readonly<Record<string, string | undefined>>): RuntimeDir {
  const given = env["XDG_RUNTIME_DIR"] ?? "";
  const bases = isUsable(given) ? [given, "/tmp"] : ["/tmp"];
  let cause: unknown;
  for (const base of bases) {
    try {
      const path = mkdtempSync(join(realpathSync(base), "agentkube-"));
      return {
        path,
        [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true, maxRetries: 3 }),
      };
    } catch (error) {
      cause = error;
    }
  }
  throw new PlatformError(
    "runtime_dir_unusable",
    `Cannot make a runtime directory in ${bases.map((base) => `"${base}"`).join(" or ")}: ${errnoOf(cause) ?? messageOf(cause)}`,
    { path: bases[0] ?? "/tmp", fix: "make /tmp writable, or set XDG_RUNTIME_DIR", cause },
  );
}

function isUsable(dir: string): boolean {
  if (!dir.startsWith("/")) return false;
  try {
    const real = realpathSync(dir);
    if (Buffer.byteLength(real) + LONGEST_NAME.length > MAX_SOCKET_PATH) return false;
    return statSync(real).uid === process.getuid?.();
  } catch {
    return false;
  }
}
