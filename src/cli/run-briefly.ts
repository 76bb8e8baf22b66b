import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { errnoOf, messageOf } from "../kit/platform-error.ts";

const KEPT_BYTES = 64 * 1024;

/** What a short-lived program of the machine said. `code` null: it did not end by itself; `problem` then says why. */
export interface BriefRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly problem: string | null;
}

/** Runs a program of the machine for a short time, without input. Never rejects; leaves no process of its group behind. */
export async function runBriefly(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  limitMs: number,
): Promise<BriefRun> {
  const [program = "", ...args] = argv;
  const child = spawn(program, args, {
    cwd: "/",
    env: { ...env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const killGroup = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // The group is gone.
    }
  };
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    killGroup();
  }, limitMs);
  const stdout = kept(child.stdout);
  const stderr = kept(child.stderr);
  try {
    const [code] = (await once(child, "exit")) as [number | null];
    // A background child of it may keep the pipes open for ever.
    killGroup();
    await Promise.race([once(child, "close"), later(200)]);
    const problem = late ? `did not end within ${limitMs} ms` : null;
    return { code: late ? null : code, stdout: stdout(), stderr: stderr(), problem };
  } catch (error) {
    const problem = errnoOf(error) ?? messageOf(error);
    return { code: null, stdout: "", stderr: "", problem };
  } finally {
    clearTimeout(timer);
    child.stdout.destroy();
    child.stderr.destroy();
  }
}

function kept(stream: Readable): () => string {
  let bytes = 0;
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => {
    if (bytes < KEPT_BYTES) chunks.push(chunk);
    bytes += chunk.length;
  });
  stream.on("error", () => {});
  return () => Buffer.concat(chunks).toString("utf8").slice(0, KEPT_BYTES);
}

function later(ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, ms).unref();
  return promise;
}
