// Other ways to read or record the same output, each timed from its first output to its end.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { ownChild } from "./belongings.ts";
import { ask, forked } from "./forked.ts";
import type { ReaderAnswer, ReaderQuestion } from "./node-pty-reader.ts";
import { bytesOfCast, bytesOfTlog, bytesOfTypescript } from "./recorded-bytes.ts";
import type { Recorded } from "./recorded-bytes.ts";
import { watchTreeCpu } from "./tree-cpu.ts";

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

/** One recording of the same output by somebody. */
export interface Measured {
  /** from the first output to the end of the recorder */
  elapsedMs: number;
  /** of the recorder and all that it started, in that time */
  cpuSeconds: number;
  /** what its recording gives back; null for who keeps nothing */
  recorded: Recorded | null;
}

/** node-pty: bytes read and dropped. */
export async function readByNodePty(
  library: string,
  dir: string,
  bytes: number,
): Promise<Measured> {
  await using reader = forked(new URL("node-pty-reader.ts", import.meta.url));
  await using cpu = watchTreeCpu(reader.child.pid ?? 0);
  const question: ReaderQuestion = { library, script: PRINT_SCRIPT, cwd: dir };
  const read = await ask<ReaderAnswer>(reader.child, question);
  const cpuSeconds = cpu.since(startedAt(dir));
  if (read.bytes !== bytes)
    throw new Error(`node-pty gave ${read.bytes} of ${bytes} bytes, so its time says nothing`);
  return { elapsedMs: read.endedAt - startedAt(dir), cpuSeconds, recorded: null };
}

/** `script` of util-linux, nothing kept: the least that reads a terminal. */
export async function readByScript(dir: string): Promise<Measured> {
  const words = ["-q", "-e", "-c", PRINT_SCRIPT, "/dev/null"];
  return { ...(await record("script", words, dir)), recorded: null };
}

/** `script` of util-linux, to a file. */
export async function recordByScript(dir: string, bytes: number): Promise<Measured> {
  const words = ["-q", "-e", "-c", PRINT_SCRIPT, "typescript"];
  const measured = await record("script", words, dir);
  const file = path.join(dir, "typescript");
  const recorded = await bytesOfTypescript(file, bytes);
  rmSync(file);
  return { ...measured, recorded };
}

/** `asciinema rec`, to a file. */
export async function recordByAsciinema(dir: string): Promise<Measured> {
  const words = ["rec", "-q", "--overwrite", "-c", PRINT_SCRIPT, "peer.cast"];
  const measured = await record("asciinema", words, dir);
  const file = path.join(dir, "peer.cast");
  const recorded = await bytesOfCast(file);
  rmSync(file);
  return { ...measured, recorded };
}

/** `tlog-rec`, to a file. It wants a terminal of its own, which `script` gives it, and shows nothing there. */
export async function recordByTlog(dir: string): Promise<Measured> {
  if (!existsSync("/run/utmp"))
    throw new Error("tlog-rec wants /run/utmp, which is not there; make it with: touch /run/utmp");
  writeFileSync(path.join(dir, "print"), PRINT_SCRIPT);
  const command = "tlog-rec -w file -o peer.json /bin/sh print >/dev/null";
  const measured = await record("script", ["-q", "-e", "-c", command, "/dev/null"], dir);
  const file = path.join(dir, "peer.json");
  const recorded = await bytesOfTlog(file);
  rmSync(file);
  return { ...measured, recorded };
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
  dir: string,
): Promise<Omit<Measured, "recorded">> {
  await using owned = ownChild(
    // In a session of its own there is no terminal to draw on.
    spawn(program, words, {
      cwd: dir,
      stdio: "ignore",
      detached: true,
      env: { PATH: process.env["PATH"], HOME: dir, TERM: "xterm-256color", LANG: "C.UTF-8" },
    }),
  );
  await using cpu = watchTreeCpu(owned.child.pid ?? 0);
  const [code] = (await once(owned.child, "exit")) as [number | null];
  const endedAt = Date.now();
  if (code !== 0) throw new Error(`${program} ended with ${code}`);
  return { elapsedMs: endedAt - startedAt(dir), cpuSeconds: cpu.since(startedAt(dir)) };
}
