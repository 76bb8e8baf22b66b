// What the benchmarks have opened and must close, also when Ctrl-C ends them in the middle.
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type ContainerLab, openContainerLab } from "../test/images/container-lab.ts";
import { openLab } from "../test/helpers/lab.ts";
import type { Lab } from "../test/helpers/lab.ts";

type Undo = () => void | PromiseLike<void>;

const open = new Set<Undo>();
let ending = false;

/** Whether Ctrl-C ended the benchmarks. */
export function isEnding(): boolean {
  return ending;
}

/** Undoes something once: at the end of its `await using`, or in `giveAllBack`. */
function belonging(undo: Undo): AsyncDisposable {
  open.add(undo);
  return {
    async [Symbol.asyncDispose]() {
      if (open.delete(undo)) await undo();
    },
  };
}

/** Undoes everything that is still open, the youngest first; from now on nothing can be opened. */
export async function giveAllBack(): Promise<void> {
  ending = true;
  for (const undo of [...open].reverse()) {
    open.delete(undo);
    await undo();
  }
}

/** A directory with a short name, since a socket path has at most 107 bytes; removed with all that is in it. */
export function temporaryDirectory(): AsyncDisposable & { path: string } {
  requireOpen();
  const dir = mkdtempSync(path.join(tmpdir(), "akbench-"));
  return { path: dir, ...belonging(() => rmSync(dir, { recursive: true, force: true })) };
}

/** A child that is killed when it still runs. */
export function ownChild<T extends ChildProcess>(child: T): AsyncDisposable & { child: T } {
  if (ending) child.kill("SIGKILL");
  requireOpen();
  const undo = async (): Promise<void> => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  };
  return { child, ...belonging(undo) };
}

/** Directories and the real command line; every process that names them is killed at the end. */
export function ownLab(): AsyncDisposable & { lab: Lab } {
  requireOpen();
  const lab = openLab();
  return { lab, ...belonging(() => lab[Symbol.asyncDispose]()) };
}

/** Storage, images and pods of podman's; what still runs in it is ended. */
export function ownContainerLab(): AsyncDisposable & { lab: ContainerLab } {
  requireOpen();
  const lab = openContainerLab();
  return { lab, ...belonging(() => lab[Symbol.dispose]()) };
}

function requireOpen(): void {
  if (ending) throw new Error("The benchmarks are ending");
}
