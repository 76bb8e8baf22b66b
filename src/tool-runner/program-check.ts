import { closeSync, openSync, readSync } from "node:fs";
import { elfMachineOf, OUR_MACHINE } from "../kit/elf.ts";
import { errnoOf } from "../kit/platform-error.ts";
import { lookUp, PACKAGE_DIR, TOOL_PATH, type Found, type SandboxView } from "./sandbox-view.ts";

/** Why a program would not start, and what to do about it. */
export interface ProgramProblem {
  problem: string;
  fix: string;
}

const PROGRAM_HEADER_INTERPRETER = 3;
const MAX_INTERPRETERS = 4;
/** The kernel reads no more of a first line. */
const FIRST_LINE_BYTES = 256;

/** Looks whether the sandbox could start a program: that it is there, executable, of this machine, with its interpreter. */
export function checkProgram(view: SandboxView, path: string, depth = 0): ProgramProblem | null {
  const found = lookUp(view, path);
  if (found === null)
    return {
      problem: `executable "${path}" does not exist in the tool's sandbox`,
      fix: missingFix(view, path),
    };
  if (!found.stats.isFile())
    return { problem: `"${path}" is not a file`, fix: "name an executable file" };
  if ((found.stats.mode & 0o111) === 0)
    return { problem: `"${path}" may not be executed`, fix: `chmod +x the file` };
  const head = readAt(found.host, 0, FIRST_LINE_BYTES);
  if (head === null) return null;
  if (head.subarray(0, 4).equals(Buffer.from("\x7FELF", "latin1")))
    return checkElf(view, path, found, depth);
  if (head.subarray(0, 2).toString("latin1") === "#!")
    return checkScript(view, path, head.toString("latin1"), depth);
  return {
    problem: `"${path}" is neither an ELF program nor a script whose first line names an interpreter`,
    fix: "begin a script with a line such as #!/bin/sh",
  };
}

function missingFix({ root, files }: SandboxView, path: string): string {
  if (path.startsWith(`${PACKAGE_DIR}/`))
    return files === null
      ? "set package to the directory that holds it"
      : `expected "${path.slice(PACKAGE_DIR.length + 1)}" in the directory that package names; correct the command, or put it there`;
  return root === null
    ? "use a program of the host's /usr, or put it into the package"
    : "put it into the root file system (rootfs/ of the package, or the image)";
}

function checkElf(
  view: SandboxView,
  path: string,
  { host }: Found,
  depth: number,
): ProgramProblem | null {
  const header = readAt(host, 0, 64);
  if (header === null || header.length < 64)
    return { problem: `"${path}" is a broken ELF file`, fix: "build or copy it again" };
  const machine = elfMachineOf(header);
  if (machine?.isOurs !== true)
    return {
      problem: `"${path}" is a program for ${machine?.name}, and this machine is ${OUR_MACHINE}`,
      fix: `build it for ${process.arch === "x64" ? "linux/amd64" : `linux/${process.arch}`}`,
    };
  const loader = loaderOf(host, header);
  if (loader === null || lookUp(view, loader) !== null) return null;
  return {
    problem: `"${path}" needs the loader "${loader}", which is not in the tool's sandbox`,
    fix:
      depth === 0
        ? "link the program statically, or package it with the root file system it was built for"
        : "put the interpreter's loader into the root file system",
  };
}

/** The dynamic loader that an ELF program names (PT_INTERP); null when it is static. */
function loaderOf(host: string, header: Buffer): string | null {
  const offset = Number(header.readBigUInt64LE(32));
  const size = header.readUInt16LE(54);
  const count = header.readUInt16LE(56);
  const table = readAt(host, offset, Math.min(size * count, 64 * 1024));
  if (table === null || size < 56) return null;
  for (let at = 0; at + size <= table.length; at += size) {
    if (table.readUInt32LE(at) !== PROGRAM_HEADER_INTERPRETER) continue;
    const place = Number(table.readBigUInt64LE(at + 8));
    const length = Number(table.readBigUInt64LE(at + 32));
    const name = readAt(host, place, Math.min(length, 4096));
    return name?.toString("latin1").replace(/\0.*$/s, "") ?? null;
  }
  return null;
}

function checkScript(
  view: SandboxView,
  path: string,
  head: string,
  depth: number,
): ProgramProblem | null {
  const line = head.split("\n", 1)[0] ?? "";
  if (line.endsWith("\r"))
    return {
      problem: `the first line of "${path}" ends in a carriage return, which would be part of the interpreter's name`,
      fix: "save the file with Unix line ends",
    };
  const [interpreter = "", ...words] = line
    .slice(2)
    .trim()
    .split(/[ \t]+/);
  if (!interpreter.startsWith("/"))
    return {
      problem: `the first line of "${path}" names the interpreter "${interpreter}", which is not an absolute path`,
      fix: "write for example #!/usr/bin/env node or #!/bin/sh",
    };
  const program = programOfEnv(interpreter, words);
  const wanted = program === null ? interpreter : findOnPath(view, program);
  if (wanted === null)
    return {
      problem: `"${path}" needs "${program}", which is not on the tool's PATH (${TOOL_PATH}) in its sandbox`,
      fix: interpreterFix(view),
    };
  if (depth >= MAX_INTERPRETERS)
    return { problem: `"${path}" has too many interpreters`, fix: "name a program" };
  if (lookUp(view, wanted) === null)
    return {
      problem: `"${path}" needs the interpreter "${wanted}", which is not in the tool's sandbox`,
      fix: interpreterFix(view),
    };
  return checkProgram(view, wanted, depth + 1);
}

/** `#!/usr/bin/env node`: the program that env looks up; null for any other interpreter. */
function programOfEnv(interpreter: string, words: readonly string[]): string | null {
  if (!interpreter.endsWith("/env")) return null;
  return words.find((word) => !word.startsWith("-") && !word.includes("=")) ?? null;
}

function findOnPath(view: SandboxView, name: string): string | null {
  const candidates = name.startsWith("/")
    ? [name]
    : TOOL_PATH.split(":").map((directory) => `${directory}/${name}`);
  return candidates.find((candidate) => lookUp(view, candidate)?.stats.isFile()) ?? null;
}

function interpreterFix({ root }: SandboxView): string {
  return root === null
    ? "install it in the host's /usr (home directories and /opt are not in the sandbox), or package a root file system that has it"
    : "put it into the root file system (rootfs/ of the package, or the image)";
}

function readAt(path: string, offset: number, length: number): Buffer | null {
  try {
    const file = openSync(path, "r");
    try {
      const bytes = Buffer.alloc(Math.max(0, length));
      return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, offset));
    } finally {
      closeSync(file);
    }
  } catch (error) {
    // Executable and not readable is legitimate: the kernel may start what we cannot look into.
    if (["EACCES", "EPERM"].includes(errnoOf(error) ?? "")) return null;
    throw error;
  }
}
