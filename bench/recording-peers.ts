// Other ways to read or record the same output, each timed from its first output to its end.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { ownChild } from "./belongings.ts";
import { ask, forked } from "./forked.ts";
import type { ReaderAnswer, ReaderQuestion } from "./node-pty-reader.ts";

/** Beside what is printed; says when the first output came, in nanoseconds of the wall clock. */
const STARTED_FILE = "started";

/** What every program has to print: the file `mixed` of its working directory, byte for byte, with the time it began beside it. */
export const PRINT_SCRIPT = `stty raw -echo; date +%s%N >${STARTED_FILE}; exec cat mixed`;

/** Wall clock in milliseconds just before the first output of the script that ran in `dir`. */
export function startedAt(dir: string): number {
  const nanoseconds = readFileSync(path.join(dir, STARTED_FILE), "utf8").trim();
  if (!/^\d{19}$/.test(nanoseconds))
    throw new Error(`Expected the start in nanoseconds, got "${nanoseconds}"`);
  return Number(nanoseconds) / 1e6;
}

/** node-pty: bytes read and dropped. */
export async function readByNodePty(library: string, dir: string, bytes: number): Promise<number> {
  await using reader = forked(new URL("node-pty-reader.ts", import.meta.url));
  const question: ReaderQuestion = { library, script: PRINT_SCRIPT, cwd: dir };
  const read = await ask<ReaderAnswer>(reader.child, question);
  if (read.bytes !== bytes)
    throw new Error(`node-pty gave ${read.bytes} of ${bytes} bytes, so its time says nothing`);
  return read.endedAt - startedAt(dir);
}

/** `script` of util-linux, to a file. */
export function recordByScript(dir: string, bytes: number): Promise<number> {
  return record("script", ["-q", "-e", "-c", PRINT_SCRIPT, "typescript"], "typescript", dir, bytes);
}

/** `asciinema rec`, to a file. */
export function recordByAsciinema(dir: string, bytes: number): Promise<number> {
  const words = ["rec", "-q", "--overwrite", "-c", PRINT_SCRIPT, "peer.cast"];
  return record("asciinema", words, "peer.cast", dir, bytes);
}

/** The first line of what `PROGRAM --version` says, or null when the program is not there. */
export async function versionOf(program: string): Promise<string | null> {
  try {
    const { stdout } = await promisify(execFile)(program, ["--version"], { timeout: 10_000 });
    return stdout.split("\n")[0]?.trim() ?? null;
  } catch {
    return null;
  }
}

async function record(
  program: string,
  words: string[],
  output: string,
  dir: string,
  bytes: number,
): Promise<number> {
  await using owned = ownChild(
    // In a session of its own there is no terminal to draw on.
    spawn(program, words, {
      cwd: dir,
      stdio: "ignore",
      detached: true,
      env: { PATH: process.env["PATH"], HOME: dir, TERM: "xterm-256color", LANG: "C.UTF-8" },
    }),
  );
  const [code] = (await once(owned.child, "exit")) as [number | null];
  const endedAt = Date.now();
  const { size } = statSync(path.join(dir, output));
  rmSync(path.join(dir, output));
  if (code !== 0 || size < bytes)
    throw new Error(`${program} ended with ${code} and ${size} of at least ${bytes} bytes`);
  return endedAt - startedAt(dir);
}
