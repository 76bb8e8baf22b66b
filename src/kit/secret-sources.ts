import { spawn } from "node:child_process";
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { errnoOf, messageOf } from "./platform-error.ts";

/** A secret is no larger than this. */
export const MAX_SECRET_BYTES = 1024 * 1024;
const EXEC_LIMIT_MS = 30_000;

/** Why a source gave no secret. The text is ours: nothing that the source said is in it. */
export class SecretSourceError extends Error {}

/**
 * Reads a file as a secret, without the line break at its end. A directory of links that are swapped (`..data` of a Kubernetes
 * volume) gives the old content or the new one. Throws `SecretSourceError` for what is no regular file, empty, too large, or changes
 * while it is read.
 */
export function readSecretFile(path: string): Buffer {
  let fd: number;
  try {
    // Not blocking: a FIFO in its place must not stop us.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw new SecretSourceError(`file cannot be read: ${errnoOf(error) ?? "unknown fault"}`);
  }
  try {
    const before = fstatSync(fd, { bigint: true });
    if (!before.isFile()) throw new SecretSourceError("file is not a regular file");
    if (before.size > MAX_SECRET_BYTES)
      throw new SecretSourceError(`file is larger than ${MAX_SECRET_BYTES} bytes`);
    const bytes = Buffer.alloc(Number(before.size) + 1);
    let length = 0;
    for (let count = -1; count !== 0 && length < bytes.length; length += count)
      count = readSync(fd, bytes, length, bytes.length - length, length);
    const after = fstatSync(fd, { bigint: true });
    if (length !== Number(before.size) || after.mtimeNs !== before.mtimeNs)
      throw new SecretSourceError("file changed while it was read");
    return requireContent(withoutNewline(bytes.subarray(0, length)), "file");
  } catch (error) {
    if (error instanceof SecretSourceError) throw error;
    throw new SecretSourceError(`file cannot be read: ${errnoOf(error) ?? "unknown fault"}`);
  } finally {
    closeSync(fd);
  }
}

/**
 * Runs a command with a shell, at most 30 s, and gives what it printed, without the line break at its end. Only a command that ended
 * with 0 has said all of it. What it says on standard error may hold secrets and is not kept. Throws `SecretSourceError`.
 */
export async function runSecretCommand(
  { command, cwd, env }: { command: string; cwd: string; env: Readonly<Record<string, string>> },
  signal: AbortSignal,
): Promise<Buffer> {
  signal.throwIfAborted();
  const child = spawn("/bin/sh", ["-c", command], {
    cwd,
    env: { ...env },
    stdio: ["ignore", "pipe", "ignore"],
    detached: true,
  });
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const stop = (reason: unknown): void => {
    reject(reason);
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // The group is already gone.
    }
  };
  const fail = (why: string): void => stop(new SecretSourceError(`command ${why}`));
  const timer = setTimeout(() => fail(`took longer than ${EXEC_LIMIT_MS / 1000} s`), EXEC_LIMIT_MS);
  const onAbort = (): void => stop(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  const chunks: Buffer[] = [];
  let size = 0;
  child.stdout.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size <= MAX_SECRET_BYTES) chunks.push(chunk);
    else fail(`printed more than ${MAX_SECRET_BYTES} bytes`);
  });
  child.once("error", (error) => fail(`cannot be run: ${errnoOf(error) ?? messageOf(error)}`));
  child.once("close", (code, killedBy) => {
    if (code === 0) resolve(Buffer.concat(chunks));
    else fail(code === null ? `ended by ${killedBy ?? "a signal"}` : `ended with ${code}`);
  });
  try {
    return requireContent(withoutNewline(await promise), "command");
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

function requireContent(value: Buffer, what: string): Buffer {
  if (value.length > 0) return value;
  throw new SecretSourceError(what === "file" ? "file is empty" : "command printed nothing");
}

/** Editors and `echo` end a file with a line break that is not part of a token. */
function withoutNewline(value: Buffer): Buffer {
  if (value.at(-1) !== 0x0a) return value;
  return value.subarray(0, value.at(-2) === 0x0d ? -2 : -1);
}
