import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Bind } from "../protocol/run-spec.ts";
import { findProgram, interpreterOf, type FoundProgram } from "./resolve-program.ts";
import { behindShim } from "./version-manager-shims.ts";

/** What of the host a program needs to run in zone A, besides `/usr`. */
export interface RuntimeTree {
  /** what is executed inside */
  readonly program: string;
  /** read-only binds, each at its own path */
  readonly binds: readonly Bind[];
  /** directories for PATH inside, before the system's */
  readonly path: readonly string[];
  /** interpreters that a script names and this machine lacks */
  readonly missing: readonly string[];
}

export interface HostFacts {
  /** PATH of the user */
  readonly path: string;
  /** HOME, XDG base directories and the like: never bound whole */
  readonly neverWhole: readonly string[];
}

/** A program's packages beyond its own directory; more than this is not a program's own tree. */
const MAX_PACKAGES = 512;

/**
 * Works out a program's own tree: its package directory (or the file itself), the packages it depends on, and its
 * interpreter. Never HOME, an XDG base directory, `/usr/local` or `/` whole.
 */
export function runtimeTreeOf(program: FoundProgram, facts: HostFacts): RuntimeTree {
  const paths = new Set<string>();
  const path = new Set<string>();
  const missing: string[] = [];
  const executed = addProgram(program, facts, paths);
  let script = program.real;
  // A script's interpreter may be a script again; the kernel follows four.
  for (let depth = 0; depth < 4; depth += 1) {
    const named = interpreterOf(script);
    if (named === null) break;
    const first = findProgram(named.name, facts.path, "/");
    if (first === null) {
      missing.push(named.name);
      break;
    }
    const interpreter = behindShim(first);
    addProgram(interpreter, facts, paths);
    if (!isSystem(interpreter.found)) {
      paths.add(interpreter.found);
      if (named.viaEnv) path.add(dirname(interpreter.found));
    }
    script = interpreter.real;
  }
  return {
    program: executed,
    binds: withoutInner([...paths]).map((each) => ({
      source: realpathSync(each),
      target: each,
      mode: "ro",
    })),
    path: [...path],
    missing,
  };
}

/** Adds what `program` needs; returns the path to execute inside. */
function addProgram(program: FoundProgram, facts: HostFacts, paths: Set<string>): string {
  const venv = dirname(dirname(program.found));
  if (existsSync(join(venv, "pyvenv.cfg")) && !isWhole(venv, facts)) {
    // A virtual environment is known by the path it is called by, not by the interpreter behind the link.
    paths.add(venv);
    addPython(program.real, facts, paths);
    return program.found;
  }
  if (isSystem(program.found) && isSystem(program.real)) return program.found;
  if (isSystem(program.real)) return program.real;
  const realVenv = dirname(dirname(program.real));
  const packageDir = packageDirOf(program.real);
  if (existsSync(join(realVenv, "pyvenv.cfg")) && !isWhole(realVenv, facts)) paths.add(realVenv);
  else if (packageDir !== null && !isWhole(packageDir, facts)) addPackage(packageDir, facts, paths);
  else paths.add(program.real);
  addPython(program.real, facts, paths);
  return program.real;
}

/** A Python outside `/usr` needs its library directory beside it. */
function addPython(real: string, facts: HostFacts, paths: Set<string>): void {
  if (isSystem(real)) return;
  const prefix = dirname(dirname(real));
  const lib = join(prefix, "lib");
  if (!existsSync(lib) || !/^(?:python|pypy)/.test(real.slice(dirname(real).length + 1))) return;
  const hasLibrary = readdirSync(lib).some((name) => /^(?:lib)?(?:python|pypy)\d/.test(name));
  if (hasLibrary && !isWhole(prefix, facts)) paths.add(prefix);
  else paths.add(real);
}

/** The nearest directory above a file with a package.json, when it lies in a node_modules tree. */
export function packageDirOf(file: string): string | null {
  for (let dir = dirname(file); dir.includes("/node_modules/"); dir = dirname(dir))
    if (existsSync(join(dir, "package.json"))) return dir;
  return null;
}

/** A package and, where an installer put them beside it, the packages that it depends on. */
function addPackage(packageDir: string, facts: HostFacts, paths: Set<string>): void {
  const waiting = [packageDir];
  const seen = new Set(waiting);
  while (waiting.length > 0 && seen.size <= MAX_PACKAGES) {
    const dir = waiting.pop() ?? "";
    if (!isSystem(dir)) paths.add(dir);
    for (const name of dependenciesOf(dir)) {
      const found = findPackage(name, dir);
      if (found === null || seen.has(found) || isWhole(found, facts)) continue;
      seen.add(found);
      waiting.push(found);
    }
  }
}

function dependenciesOf(packageDir: string): string[] {
  try {
    const parsed: unknown = JSON.parse(readFileSync(join(packageDir, "package.json"), "utf8"));
    if (typeof parsed !== "object" || parsed === null) return [];
    const manifest = parsed as Record<string, unknown>;
    return ["dependencies", "optionalDependencies", "peerDependencies"].flatMap((field) => {
      const value = manifest[field];
      return typeof value === "object" && value !== null ? Object.keys(value) : [];
    });
  } catch {
    return [];
  }
}

/** Node's own search: node_modules of each directory upwards. */
function findPackage(name: string, from: string): string | null {
  if (!/^(?:@[^/]+\/)?[^/.][^/]*$/.test(name)) return null;
  for (let dir = from; dir !== dirname(dir); dir = dirname(dir)) {
    if (dir.endsWith("/node_modules")) continue;
    const candidate = join(dir, "node_modules", name);
    if (existsSync(join(candidate, "package.json"))) return realpathSync(candidate);
  }
  return null;
}

/** True for what zone A sees anyway. */
export function isSystem(path: string): boolean {
  return /^\/(?:usr|bin|sbin|lib|lib32|lib64)\//.test(path);
}

function isWhole(dir: string, facts: HostFacts): boolean {
  return (
    dir === "/" || facts.neverWhole.some((never) => never === dir || never.startsWith(`${dir}/`))
  );
}

/** A directory already shows what lies in it. */
function withoutInner(paths: readonly string[]): string[] {
  return paths.filter(
    (path) => !paths.some((other) => other !== path && path.startsWith(`${other}/`)),
  );
}
