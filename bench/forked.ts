import { fork } from "node:child_process";
import type { ChildProcess, Serializable } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { ownChild } from "./belongings.ts";

/** A program of the benchmarks in a process of its own, with more in its environment; it ends with its channel. */
export function forked(
  url: URL,
  extra: Readonly<Record<string, string>> = {},
): AsyncDisposable & { child: ChildProcess } {
  const env = { ...process.env, ...extra };
  return ownChild(fork(fileURLToPath(url), { env, stdio: ["ignore", "ignore", "inherit", "ipc"] }));
}

/** Sends one message and gives the next one that comes back. Throws when the process ends instead. */
export async function ask<T>(child: ChildProcess, message: Serializable): Promise<T> {
  const over = new AbortController();
  const ended = once(child, "exit", { signal: over.signal }).then(([code]) => {
    throw new Error(`Expected an answer of ${child.spawnargs.at(-1)}, it ended with ${code}`);
  });
  ended.catch(() => undefined);
  try {
    const answer = once(child, "message", { signal: over.signal });
    child.send(message);
    const [said] = (await Promise.race([answer, ended])) as [T];
    return said;
  } finally {
    over.abort();
  }
}

/** In such a process: answers each message with what `work` gives, and ends with the channel. */
export function answer(work: (question: never) => Promise<unknown>): void {
  process.on("message", (question) => {
    void work(question as never).then(
      (said) => process.send?.(said),
      (error: unknown) => {
        process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
        process.exit(1);
      },
    );
  });
  process.once("disconnect", () => process.exit(0));
  // Ctrl-C reaches the whole group; the parent decides.
  process.on("SIGINT", () => undefined);
}
