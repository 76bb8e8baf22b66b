import { closeSync, existsSync } from "node:fs";
import timers from "node:timers/promises";
import { randomInt } from "node:crypto";
import { delimiter, join } from "node:path";
import { checkMountedBinds, movableBinds } from "./mounted-binds.ts";
import { native, nativeProgram } from "./native.ts";
import { PlatformError } from "./platform-error.ts";
import { isGone, killNow, processStart, processState } from "./process-alive.ts";
import { childrenOf } from "./process-tree.ts";
import {
  insideIdentity,
  type SandboxLine,
  type SandboxPlan,
  sandboxLine,
} from "./sandbox-arguments.ts";
import { layOut } from "./sandbox-layout.ts";
import type { Sandbox, SandboxStdio } from "./sandbox.ts";
import { compileSeccomp } from "./seccomp.ts";
import { refusalIn } from "./refusal-fix.ts";
import { startFailure } from "./start-failure.ts";
import { type FailedStart, launchZone, openedZone, ZoneProcess } from "./zone-process.ts";

/** After the control socket, which the inits expect as descriptor 3. */
const SECCOMP_DESCRIPTOR = 4;
/** Where host-uid mounts its clones, in its own mount namespace; every Linux has the directory. */
const STAGE = "/mnt";
/** A launcher whose mounts take longer than this is killed as it is. */
const FREEZE_LIMIT_MS = 2000;
/** Dedicated uids lie above what distributions and container engines hand out. */
const DEDICATED_UIDS = { first: 0x7000_0000, count: 0x0100_0000 };

/** Zone A, once a run: bubblewrap makes the namespaces, zone-init is their pid 1. Throws as `openSandbox` does. */
export async function openBubblewrapZone(
  plan: SandboxPlan,
  stdio: SandboxStdio,
  signal: AbortSignal,
): Promise<Sandbox> {
  const launch = launchOf(plan);
  const { child, control } = launchZone({
    program: launch.program,
    arguments: launch.arguments,
    env: { PATH: "/usr/bin:/bin" },
    stdio: [stdio.stdin, stdio.stdout, "pipe"],
    descriptors: launchFiles(plan, launch.inputs),
  });
  return await openedZone(new BubblewrapZone(child, control), async (zone) => {
    await zone.ready(launcherFailure, signal);
    await zone.checkBinds(plan);
    if (stdio.stderr === "ignore") zone.stderr?.resume();
  });
}

class BubblewrapZone extends ZoneProcess {
  #initPid: number | undefined;

  get rootPath(): string {
    return `/proc/${this.#initPid ?? "none"}/root`;
  }

  /** Before anything runs in it: what is mounted now stays mounted. */
  async checkBinds({ binds }: SandboxPlan): Promise<void> {
    [this.#initPid] = await childrenOf(this.pid);
    const movable = movableBinds(binds);
    if (movable.length > 0) checkMountedBinds(this.#initPid ?? this.pid, movable);
  }

  async kill(): Promise<void> {
    if (this.#initPid === undefined) await this.#killLauncher();
    else if (!this.isGone) {
      const [init] = await childrenOf(this.pid);
      // Killing init first: the outer process returns only when the kernel has emptied the namespace.
      if (init === undefined || !killNow(init)) this.child.kill("SIGKILL");
    }
    await this.closed;
  }

  /**
   * Ends a launcher that has not finished its work. Its child waits for it to map the uids, and dies with it only later: one whose
   * launcher is killed before that waits for ever. So the launcher is frozen, and then both are killed.
   */
  async #killLauncher(): Promise<void> {
    if (this.isGone || this.pid === -1 || !this.child.kill("SIGSTOP")) return;
    const isFrozen = (): boolean => ["T", null].includes(processState(this.pid));
    for (let waited = 0; !isFrozen() && waited < FREEZE_LIMIT_MS; waited++)
      await timers.setTimeout(1);
    const pids = await childrenOf(this.pid);
    const children = pids.map((pid) => ({ pid, start: processStart(pid) }));
    for (const pid of pids) killNow(pid);
    this.child.kill("SIGKILL");
    while (children.some(({ pid, start }) => start !== null && !isGone(pid, start)))
      await timers.setTimeout(1);
  }
}

/** The seccomp filter, then the files whose bytes bubblewrap puts into the sandbox. */
function launchFiles(plan: SandboxPlan, inputs: readonly Buffer[]): number[] {
  const opened: number[] = [];
  try {
    opened.push(native().sealedFile("seccomp", compileSeccomp(plan.seccomp)));
    for (const input of inputs) opened.push(native().sealedFile("file", input));
    return opened;
  } catch (error) {
    for (const descriptor of opened) closeSync(descriptor);
    throw error;
  }
}

/** The absolute path of bubblewrap. Throws `sandbox_unavailable` with the way to install it. */
export function findBubblewrap(path: string): string {
  for (const directory of path.split(delimiter)) {
    const candidate = join(directory, "bwrap");
    if (directory.startsWith("/") && existsSync(candidate)) return candidate;
  }
  throw new PlatformError(
    "sandbox_unavailable",
    `Cannot find bubblewrap ("bwrap") on PATH "${path}"`,
    {
      fix: "install bubblewrap 0.8 or newer (Debian: apt-get install bubblewrap; Fedora: dnf install bubblewrap)",
    },
  );
}

function launchOf(plan: SandboxPlan): SandboxLine & { program: string } {
  const init = nativeProgram("zone-init");
  const bubblewrap = findBubblewrap(searchPath);
  const identity = insideIdentity();
  const layout = layOut(plan, identity);
  if (process.getuid?.() !== 0) {
    const line = sandboxLine(plan, layout, identity, init, (source) => source, SECCOMP_DESCRIPTOR);
    return { program: bubblewrap, arguments: line.arguments, inputs: line.inputs };
  }
  const sources = new Map<string, { mode: "ro" | "rw"; index: number }>();
  const staging = [...layout.treeBinds, ...plan.binds, { source: init, mode: "ro" as const }];
  for (const { source, mode } of staging) {
    const known = sources.get(source);
    if (known === undefined) sources.set(source, { mode, index: sources.size });
    else if (mode === "rw") known.mode = "rw";
  }
  const line = sandboxLine(
    plan,
    layout,
    identity,
    init,
    (source) => `${STAGE}/${sources.get(source)?.index}`,
    SECCOMP_DESCRIPTOR,
  );
  const dedicated = DEDICATED_UIDS.first + randomInt(DEDICATED_UIDS.count);
  const staged = [...sources].flatMap(([source, { mode }]) => [mode, source]);
  return {
    program: nativeProgram("host-uid"),
    arguments: [String(dedicated), STAGE, ...staged, "--", bubblewrap, ...line.arguments],
    inputs: line.inputs,
  };
}

let searchPath = "/usr/local/bin:/usr/bin:/bin";

/** Where to look for bubblewrap; the entry points set it to the PATH they were started with. */
export function setSandboxSearchPath(path: string): void {
  searchPath = path;
}

function launcherFailure({ said }: FailedStart): PlatformError {
  const last = said.split("\n").slice(-3).join("; ");
  return startFailure(last === "" ? "its launcher ended without a word" : last, {
    refusal: refusalIn(last),
  });
}
