import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const root = fileURLToPath(new URL("../", import.meta.url));
const source = path.join(root, "node_modules/node-pty");
const target = path.join(root, "build/node-pty");
const COMPILE_MS = 120_000;

/**
 * Compiles node-pty, which is installed as sources only, into build/node-pty and gives the path of its library. Throws an Error
 * that says what is missing.
 */
export async function buildNodePty(): Promise<string> {
  const code = path.join(source, "src/unix/pty.cc");
  const includes = [
    path.join(root, `node_modules/node-linux-${process.arch}/include/node`),
    path.join(root, "node_modules/node-addon-api"),
  ];
  for (const needed of [code, ...includes])
    if (!existsSync(needed)) throw new Error(`Expected "${needed}", found none; run npm ci`);
  const addon = path.join(target, "build/Release/pty.node");
  if (!isNewer(addon, code)) await compile(code, includes, addon);
  // The library looks for the addon beside itself.
  cpSync(path.join(source, "lib"), path.join(target, "lib"), { recursive: true });
  cpSync(path.join(source, "package.json"), path.join(target, "package.json"));
  return path.join(target, "lib/index.js");
}

/** The version of the sources. */
export function nodePtyVersion(): string {
  const text = readFileSync(path.join(source, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

function isNewer(built: string, code: string): boolean {
  return existsSync(built) && statSync(built).mtimeMs > statSync(code).mtimeMs;
}

// As node-gyp would for its binding.gyp, without needing Python.
async function compile(code: string, includes: string[], addon: string): Promise<void> {
  mkdirSync(path.dirname(addon), { recursive: true });
  const temporary = `${addon}.${process.pid}`;
  const flags = "-O2 -fPIC -shared -std=c++20 -fexceptions -DNAPI_CPP_EXCEPTIONS -w".split(" ");
  try {
    await promisify(execFile)(
      "c++",
      [...flags, ...includes.map((dir) => `-I${dir}`), "-o", temporary, code, "-lutil"],
      { timeout: COMPILE_MS },
    );
    renameSync(temporary, addon);
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new Error(
      isMissing ? "node-pty needs a C++ compiler: no c++ on PATH" : "node-pty does not compile",
      { cause: error },
    );
  } finally {
    rmSync(temporary, { force: true });
  }
}
