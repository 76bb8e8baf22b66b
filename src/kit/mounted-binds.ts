import { readFileSync } from "node:fs";
import { errnoOf, PlatformError } from "./platform-error.ts";
import type { SandboxBind } from "./sandbox-arguments.ts";

/** One line of /proc/PID/mountinfo: what of which file system lies where. See proc_pid_mountinfo(5). */
interface Mount {
  device: string;
  root: string;
  point: string;
}

/**
 * The binds whose source others can put a link in the way of while the sandbox is built: those that say so, and those below a
 * place that a sandbox may write to. A launcher looks paths up by name, so only what was mounted tells what they came to.
 */
export function movableBinds(binds: readonly SandboxBind[]): SandboxBind[] {
  const writable = binds.filter(({ mode }) => mode === "rw").map(({ source }) => source);
  return binds.filter(
    ({ source, exact }) => exact === true || writable.some((dir) => source.startsWith(`${dir}/`)),
  );
}

/**
 * Checks that each bind shows the very path it names, links not followed, in the mount namespace of `pid`. As every bind makes
 * one mount, one that went astray leaves its place empty. Throws `PlatformError` `sandbox_start_failed`.
 */
export function checkMountedBinds(pid: number, binds: readonly SandboxBind[]): void {
  const [host, inside] = [mountsOf("self"), mountsOf(String(pid))];
  for (const { source, target } of binds) {
    const expected = placeOf(source, host);
    const found = inside.findLast(({ point }) => point === target);
    if (found !== undefined && found.device === expected.device && found.root === expected.root)
      continue;
    throw new PlatformError(
      "sandbox_start_failed",
      `Sandbox is refused: "${source}" was replaced by a link or moved while it was built`,
      {
        path: source,
        fix: "look who changes that path; put it back, then try again",
        retryable: true,
      },
    );
  }
}

/** Where a path lies on its file system, by its text alone. */
function placeOf(path: string, mounts: readonly Mount[]): { device: string; root: string } {
  let best: Mount | undefined;
  for (const mount of mounts) {
    const holds = mount.point === "/" || path === mount.point || path.startsWith(`${mount.point}/`);
    // The later of two at one point lies on top.
    if (holds && mount.point.length >= (best?.point.length ?? 0)) best = mount;
  }
  if (best === undefined) return { device: "", root: path };
  const inner = best.point === "/" ? path : path.slice(best.point.length);
  const root = best.root === "/" ? inner : best.root + inner;
  return { device: best.device, root: root === "" ? "/" : root };
}

function mountsOf(pid: string): Mount[] {
  let text: string;
  try {
    // The kernel answers at once; the thread pool would take longer than the reading.
    text = readFileSync(`/proc/${pid}/mountinfo`, "utf8");
  } catch (error) {
    throw new PlatformError(
      "sandbox_start_failed",
      `Cannot see what was mounted in the sandbox: ${errnoOf(error) ?? "unknown error"}`,
      { path: `/proc/${pid}/mountinfo`, cause: error },
    );
  }
  return text.split("\n").flatMap((line) => {
    const [, , device, root, point] = line.split(" ");
    if (device === undefined || root === undefined || point === undefined) return [];
    return [{ device, root: unescaped(root), point: unescaped(point) }];
  });
}

/** The kernel writes the bytes that would break a line as `\ooo`. */
function unescaped(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
