import {
  accessSync,
  closeSync,
  constants,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import timers from "node:timers/promises";
import { elfMachineOf, OUR_MACHINE } from "../kit/elf.ts";
import { errnoOf, messageOf, PlatformError } from "../kit/platform-error.ts";
import { lastWordsAt } from "../protocol/last-words.ts";
import type { RunSpec } from "../protocol/run-spec.ts";
import { HOME } from "./drivers/driver.ts";

/** What only a pod has, or has otherwise than a laptop. */
export interface PodFacts {
  /** directories that zone A must not open, such as that of our token */
  readonly hidden: readonly string[];
  /** the environment that the image gives its programs */
  readonly imageEnv: Readonly<Record<string, string>>;
  /** how far this node's clock is ahead of the manager's; null: the manager does not say */
  readonly clockAheadMs: number | null;
  /** what Kubernetes did not put into the container; said once manager and recorder are there to be told */
  readonly lacking: PlatformError | null;
}

/** Beyond this, times on record are wrong and certificates seem not yet valid, or no more. */
const MAX_CLOCK_ERROR_MS = 5 * 60_000;
/** Longer than a tool-runner asks for its boot: it then says itself why it does not come. */
const RUNNER_MS = 150_000;
const LOOK_EVERY_MS = 100;
const CA_BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

/**
 * Looks at what a run needs of its pod before its CLI starts: a clock, places to write to, a program for this machine, a tool-runner that
 * answers. Throws `PlatformError` that names what is missing and what to do.
 */
export async function podReady(spec: RunSpec, facts: PodFacts, signal: AbortSignal): Promise<void> {
  if (facts.lacking !== null) throw facts.lacking;
  checkClock(facts.clockAheadMs);
  for (const dir of [spec.zone.workspace, HOME, "/tmp"]) checkWritable(dir);
  checkProgram(spec.agent.argv[0] ?? "", facts.imageEnv["PATH"] ?? spec.shellPath);
  await runnerAnswers(spec.sockets.runner, signal);
}

/** What of the image will make a run fail that does no harm by itself: a sentence for a person, or null. */
export function weaknessOfImage(spec: RunSpec, { imageEnv }: PodFacts): string | null {
  if (spec.zone.network !== "public" || imageEnv["SSL_CERT_FILE"] !== undefined) return null;
  if (CA_BUNDLES.some((path) => isReadable(path))) return null;
  return "The image has no CA certificates: its programs can trust no public host; install ca-certificates in it";
}

/** Throws `clock_wrong` for a clock that is more than five minutes off. */
export function checkClock(aheadMs: number | null): void {
  if (aheadMs === null || Math.abs(aheadMs) <= MAX_CLOCK_ERROR_MS) return;
  const minutes = Math.round(Math.abs(aheadMs) / 60_000);
  throw new PlatformError(
    "clock_wrong",
    `This node's clock is ${minutes} min ${aheadMs > 0 ? "ahead of" : "behind"} the manager's: times on record would be wrong, and certificates would be refused`,
    { fix: "set the clock of the node, or that of the manager's node, by NTP" },
  );
}

/** Writes a page and removes it. Throws `zone_files_failed` that says whether the place is full or closed. */
export function checkWritable(dir: string): void {
  const file = join(dir, `.agentkube-${process.pid}`);
  try {
    writeFileSync(file, Buffer.alloc(4096), { flag: "wx", mode: 0o600 });
  } catch (error) {
    const errno = errnoOf(error) ?? messageOf(error);
    const full = errno === "ENOSPC" || errno === "EDQUOT";
    throw new PlatformError(
      "zone_files_failed",
      `Cannot write to "${dir}" in the agent's container: ${full ? "its volume is full" : errno} (${errno})`,
      {
        path: dir,
        fix: full
          ? "give the volume more room (sizeLimit), or the Agent a larger spec.limits.scratch"
          : "mount a volume there that user 1000 may write to, as agentkube pod prints it",
        cause: error,
      },
    );
  } finally {
    rmSync(file, { force: true });
  }
}

/** A program that is not found is the zone's to say; one for another machine would be taken for a script by a shell: `wrong_architecture`. */
export function checkProgram(name: string, searchPath: string): void {
  const places = name.includes("/") ? [name] : searchPath.split(":").map((dir) => join(dir, name));
  const path = places.find((place) => isReadable(place));
  if (path === undefined) return;
  const machine = elfMachineOf(headOf(path));
  if (machine === null || machine.isOurs) return;
  throw new PlatformError(
    "wrong_architecture",
    `Program "${path}" is built for ${machine.name}, and this node is ${OUR_MACHINE}`,
    { path, fix: "use an image for this node's architecture, or a nodeSelector for the image's" },
  );
}

function headOf(path: string): Buffer {
  const bytes = Buffer.alloc(64);
  try {
    const descriptor = openSync(path, "r");
    try {
      return bytes.subarray(0, readSync(descriptor, bytes, 0, bytes.length, 0));
    } finally {
      closeSync(descriptor);
    }
  } catch {
    return bytes.subarray(0, 0);
  }
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** Resolves when somebody listens on the tool-runner's socket; throws what the tool-runner said when it cannot serve. */
export async function runnerAnswers(socket: string, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + RUNNER_MS;
  while (!(await accepts(socket))) {
    const said = lastWordsAt(socket);
    if (said !== null) throw said;
    if (performance.now() > deadline)
      throw new PlatformError(
        "runner_missing",
        `Tool-runner did not answer within ${RUNNER_MS / 1000} s`,
        { path: socket, fix: "look into the log of the container tool-runner" },
      );
    await timers.setTimeout(LOOK_EVERY_MS, undefined, { signal });
  }
}

async function accepts(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(path, () => resolve(true));
  socket.once("error", () => resolve(false));
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}
