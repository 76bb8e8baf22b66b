import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import timers from "node:timers/promises";
import * as z from "zod";
import { parseJson } from "../kit/json-lines.ts";
import { type ErrorFacts, PlatformError } from "../kit/platform-error.ts";

/**
 * Why a container of a pod cannot do its work. It is left where Kubernetes shows it (`kubectl describe pod`), and, by the sidecars, beside
 * their socket, where the agentlet finds it and makes it the end of the run. No value of a secret is in an error's message.
 */
const Fault = z.strictObject({
  code: z.string(),
  message: z.string(),
  path: z.string().optional(),
  fix: z.string().optional(),
});

/** Where Kubernetes looks for a container's last words; it keeps 4096 bytes. */
const TERMINATION_LOG = "/dev/termination-log";
const MAX_BYTES = 4000;
const LOOK_EVERY_MS = 100;

/** Says why this container ends. A place that cannot be written to is no reason to fail: the log has it too. */
export function sayLastWords(fault: ErrorFacts, socket: string | null = null): void {
  writeTerminationMessage([fault.message, ...hintsOf(fault)]);
  if (socket === null) return;
  const file = faultFile(socket);
  attempt(() => {
    writeFileSync(`${file}.new`, JSON.stringify(fault), { mode: 0o644 });
    renameSync(`${file}.new`, file);
  });
}

/** A container that starts takes back what the one before it said. */
export function takeBackLastWords(socket: string): void {
  attempt(() => rmSync(faultFile(socket), { force: true }));
}

/** What the server of a socket said when it could not serve; null: nothing. */
export function lastWordsAt(socket: string): PlatformError | null {
  try {
    const text = readFileSync(faultFile(socket), "utf8");
    const { code, message, path, fix } = parseJson("last words", Fault, text);
    return new PlatformError(code, message, {
      ...(path === undefined ? {} : { path }),
      ...(fix === undefined ? {} : { fix }),
    });
  } catch {
    return null;
  }
}

/** The same, as soon as it is said; never, when the signal is aborted before. */
export async function lastWordsSaid(socket: string, signal: AbortSignal): Promise<PlatformError> {
  for (;;) {
    const said = lastWordsAt(socket);
    if (said !== null) return said;
    await timers.setTimeout(LOOK_EVERY_MS, undefined, { signal });
  }
}

/** The lines that say where and what to do. */
export function hintsOf({
  path,
  fix,
}: {
  path?: string | undefined;
  fix?: string | undefined;
}): string[] {
  return [
    ...(path === undefined ? [] : [`path: ${path}`]),
    ...(fix === undefined ? [] : [`fix: ${fix}`]),
  ];
}

/** Writes what `kubectl describe pod` shows of a container that has ended. */
export function writeTerminationMessage(lines: readonly string[]): void {
  const bytes = Buffer.from(`${lines.join("\n")}\n`).subarray(0, MAX_BYTES);
  // Kubernetes makes the file; elsewhere there is none, and none is made.
  attempt(() => writeFileSync(TERMINATION_LOG, bytes, { flag: "r+" }));
}

function faultFile(socket: string): string {
  return join(dirname(socket), "fault.json");
}

function attempt(write: () => void): void {
  try {
    write();
  } catch {
    // Read-only, or full.
  }
}
