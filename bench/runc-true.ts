import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawned } from "./sandbox-work.ts";

const PROGRAM = "runc";

interface Spec {
  process: { terminal: boolean; args: string[]; rlimits?: unknown };
  root: { path: string; readonly: boolean };
  mounts: { destination: string; type?: string; source?: string; options?: string[] }[];
}

let turn = 0;

/** `runc run` of /bin/true. The bundle is removed when this process ends. Throws without runc. */
export function runcTrue(): Promise<() => Promise<void>> {
  const bundle = runcBundle();
  process.once("exit", () => bundle[Symbol.dispose]());
  return Promise.resolve(async () => {
    turn += 1;
    const name = `agentkube-bench-${process.pid}-${turn}`;
    await spawned(PROGRAM, ["run", "--bundle", bundle.dir, name]);
  });
}

/** A bundle for `runc run` that shows the host's /usr and runs /bin/true; removed when disposed. Throws without runc. */
function runcBundle(): Disposable & { dir: string } {
  const dir = mkdtempSync(join(tmpdir(), "agentkube-bench-runc-"));
  const remove = (): void => rmSync(dir, { recursive: true, force: true });
  try {
    execFileSync(PROGRAM, ["spec"], { cwd: dir, stdio: ["ignore", "ignore", "pipe"] });
    const file = join(dir, "config.json");
    const spec = JSON.parse(readFileSync(file, "utf8")) as Spec;
    spec.process.terminal = false;
    spec.process.args = ["/bin/true"];
    // Raising limits takes a capability that not every root has.
    delete spec.process.rlimits;
    const root = join(dir, "rootfs");
    for (const name of ["usr", "proc", "dev", "sys", "tmp"])
      mkdirSync(join(root, name), { recursive: true });
    for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(root, name));
    spec.mounts.push({
      destination: "/usr",
      type: "bind",
      source: "/usr",
      options: ["rbind", "ro"],
    });
    spec.mounts = spec.mounts.filter(({ type }) => type !== "cgroup");
    writeFileSync(file, JSON.stringify(spec));
    return { dir, [Symbol.dispose]: remove };
  } catch (error) {
    remove();
    throw error;
  }
}
