import {
  closeSync,
  constants,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  realpathSync,
  rmdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { native } from "../kit/native.ts";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";

/** sun_path holds 108 bytes with its NUL. */
const MAX_SOCKET_PATH = 107;
const NAME = /^agentkube-[A-Za-z0-9]{6}$/;
/** A directory is not locked in the moment in which it is made. */
const SETTLED_MS = 60_000;
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
      const parent = realpathSync(base);
      sweep(parent);
      const path = mkdtempSync(join(parent, "agentkube-"));
      const lock = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
      native().lockFile(lock);
      return {
        path,
        [Symbol.dispose]: () => {
          rmSync(path, { recursive: true, force: true, maxRetries: 3 });
          closeSync(lock);
        },
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

/**
 * Removes what a killed supervisor left: a directory of this user, empty, and locked by nobody. What is not empty may be in use by
 * programs that outlive their supervisor; a manager ends those, and what they use goes with them.
 */
function sweep(parent: string): void {
  for (const name of namesIn(parent).filter((each) => NAME.test(each))) {
    const path = join(parent, name);
    let lock: number;
    try {
      lock = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    } catch {
      continue;
    }
    try {
      const { uid, mtimeMs } = fstatSync(lock);
      const isSettled = Date.now() - mtimeMs > SETTLED_MS;
      if (uid === process.getuid?.() && isSettled && native().lockFile(lock)) rmdirSync(path);
    } catch {
      // Not empty, or swept by another just now.
    } finally {
      closeSync(lock);
    }
  }
}

/** A directory may be written without being readable. */
function namesIn(parent: string): string[] {
  try {
    return readdirSync(parent);
  } catch {
    return [];
  }
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
