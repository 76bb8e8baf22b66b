// What an attack may have left: canaries in files and processes, processes, sockets and connections.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import path from "node:path";
import timers from "node:timers/promises";
import type { Lab } from "./lab.ts";
import { findSecret } from "./secret-forms.ts";

const SANDBOX_PARTS = new Set(["bwrap", "host-uid", "tool-init"]);

/** Where any canary stands in any form: in these texts, in any file of the run, in any process's arguments and environment. */
export function canariesIn(
  lab: Lab,
  canaries: readonly Buffer[],
  said: readonly (string | Buffer)[],
): string[] {
  const places = [
    ...said.map((text, index) => ({ where: `answer ${index}`, bytes: Buffer.from(text) })),
    ...filesOf(lab).map((file) => ({ where: file, bytes: tryRead(file) })),
    ...lab.processes().flatMap(({ pid, command }) =>
      ["environ", "cmdline"].map((name) => ({
        where: `${name} of ${pid} ${command.slice(0, 80)}`,
        bytes: tryRead(`/proc/${pid}/${name}`),
      })),
    ),
  ];
  return places.flatMap(({ where, bytes }) =>
    canaries.flatMap((canary, index) =>
      findSecret(bytes, canary).map(({ form }) => `${where}: canary ${index}, ${form}`),
    ),
  );
}

/** Every file of the run but the configuration, which holds the secrets, and copies of the package. */
function filesOf(lab: Lab): string[] {
  const left = new Set([lab.config, path.join(lab.data, "store")]);
  const files: string[] = [];
  const open = [lab.root];
  // Not by `recursive: true`, which follows the links that a tool may have left.
  for (let directory = open.pop(); directory !== undefined; directory = open.pop())
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const file = path.join(directory, entry.name);
      if (entry.isDirectory() && !left.has(file)) open.push(file);
      if (entry.isFile()) files.push(file);
    }
  return files;
}

/** Processes that were not there before the first call, but for sandboxes themselves: one may wait for the next call. */
export function processesOfCalls(lab: Lab, before: ReadonlySet<number>): string[] {
  return lab
    .processes()
    .filter(
      ({ pid }) =>
        !before.has(pid) && !SANDBOX_PARTS.has(path.basename(tryLink(`/proc/${pid}/exe`))),
    )
    .map(({ pid, command }) => `${pid} ${command}`);
}

/** Names of UNIX sockets in directories of this lab. */
export function unixSocketsOf(lab: Lab): string[] {
  return tryRead("/proc/net/unix")
    .toString("latin1")
    .split("\n")
    .filter((line) => line.includes(lab.root))
    .map((line) => line.slice(line.indexOf(lab.root)));
}

/** TCP connections of a process's network namespace that lead to one of these ports and are not over. */
export function connectionsTo(pid: number, ports: number[]): string[] {
  const wanted = new Set(ports.map((port) => port.toString(16).toUpperCase().padStart(4, "0")));
  const held = new Set(
    tryList(`/proc/${pid}/fd`).map(
      (fd) => /^socket:\[(\d+)\]$/.exec(tryLink(`/proc/${pid}/fd/${fd}`))?.[1],
    ),
  );
  return ["tcp", "tcp6"]
    .flatMap((family) =>
      tryRead(`/proc/${pid}/net/${family}`).toString("latin1").split("\n").slice(1),
    )
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => wanted.has(fields[2]?.split(":")[1] ?? "") && held.has(fields[9] ?? ""))
    .map((fields) => fields.slice(1, 4).join(" "));
}

/** Fails unless there is nothing to see within three seconds. */
export async function settle(look: () => string[], what: string): Promise<void> {
  let left = look();
  for (let waited = 0; left.length > 0 && waited < 3000; waited += 50) {
    await timers.setTimeout(50);
    left = look();
  }
  assert.deepEqual(left, [], `Expected no ${what} after it`);
}

function tryRead(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch {
    return Buffer.alloc(0);
  }
}

function tryLink(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return "";
  }
}

function tryList(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
