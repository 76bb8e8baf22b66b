import {
  accessSync,
  closeSync,
  constants,
  openSync,
  readSync,
  realpathSync,
  statSync,
} from "node:fs";
import { delimiter, isAbsolute, join, resolve } from "node:path";

/** A program of the host: where it was found, and the file behind all links. */
export interface FoundProgram {
  readonly found: string;
  readonly real: string;
}

/** Finds a program as a shell would: by PATH, or relative to `cwd` when it has a slash. Null when there is none. */
export function findProgram(name: string, path: string, cwd: string): FoundProgram | null {
  if (name === "") return null;
  const candidates = name.includes("/")
    ? [resolve(cwd, name)]
    : path
        .split(delimiter)
        .filter((dir) => isAbsolute(dir))
        .map((dir) => join(dir, name));
  for (const found of candidates) {
    try {
      accessSync(found, constants.X_OK);
      if (statSync(found).isFile()) return { found, real: realpathSync(found) };
    } catch {
      // Not this one.
    }
  }
  return null;
}

/** The interpreter that a script's first line names, as `env` would look it up; null for anything but a script. */
export function interpreterOf(file: string): { name: string; viaEnv: boolean } | null {
  const line = firstLine(file);
  if (!line.startsWith("#!")) return null;
  const words = line
    .slice(2)
    .trim()
    .split(/[ \t]+/);
  const [program = "", ...rest] = words;
  if (program === "") return null;
  if (!/(?:^|\/)env$/.test(program)) return { name: program, viaEnv: false };
  // `env -S node --flag`, `env -i FOO=bar python`: options and assignments come first.
  const name = rest.find((word) => !word.startsWith("-") && !word.includes("="));
  return name === undefined ? null : { name, viaEnv: true };
}

function firstLine(file: string): string {
  let fd: number;
  try {
    fd = openSync(file, "r");
  } catch {
    return "";
  }
  try {
    const head = Buffer.alloc(512);
    const text = head.toString("latin1", 0, readSync(fd, head, 0, head.length, 0));
    return text.split("\n", 1)[0] ?? "";
  } finally {
    closeSync(fd);
  }
}
