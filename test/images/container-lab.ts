import { spawnSync, type SpawnSyncReturns } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const BASE = "docker.io/library/debian:bookworm-slim";
const PROGRAMS = ["buildah", "podman", "runc", "mmdebstrap", "patchelf", "strip", "tini-static"];
/** Making a Debian takes a minute; it is kept beside the runtimes. */
const CACHE = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "agentkube/base");

/** Why images cannot be built here, as a reason to skip; false when they can. */
export function lacksContainers(): string | false {
  if (process.getuid?.() !== 0) return "building and running containers needs root here";
  const path = (process.env["PATH"] ?? "").split(delimiter);
  const missing = PROGRAMS.filter((name) => !path.some((dir) => existsSync(join(dir, name))));
  return missing.length === 0 ? false : `${missing.join(", ")} not on PATH`;
}

/** A place for images and containers of its own: nothing of it is seen by, or left for, the machine's own engine. */
export interface ContainerLab extends Disposable {
  readonly dir: string;
  readonly env: NodeJS.ProcessEnv;
  run(program: string, words: readonly string[], limitMs?: number): SpawnSyncReturns<string>;
  /** The same, and throws what was said when it fails. */
  must(program: string, words: readonly string[], limitMs?: number): string;
  podman(words: readonly string[], limitMs?: number): SpawnSyncReturns<string>;
}

export function openContainerLab(): ContainerLab {
  const dir = mkdtempSync(join(tmpdir(), "agentkube-images-"));
  const file = (name: string, lines: readonly string[]): string => {
    writeFileSync(join(dir, name), `${lines.join("\n")}\n`);
    return join(dir, name);
  };
  const env = {
    ...process.env,
    CONTAINERS_STORAGE_CONF: file("storage.conf", [
      "[storage]",
      'driver = "overlay"',
      `graphroot = "${dir}/graph"`,
      `runroot = "${dir}/run"`,
    ]),
    // podman asks for more files than root may have without CAP_SYS_RESOURCE, and crun for a cgroup of version 2.
    CONTAINERS_CONF: file("containers.conf", [
      "[containers]",
      'default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]',
      "[engine]",
      'runtime = "runc"',
      'cgroup_manager = "cgroupfs"',
      'events_logger = "file"',
    ]),
  };
  const run = (program: string, words: readonly string[], limitMs = 300_000) =>
    spawnSync(program, words, { cwd: ROOT, env, encoding: "utf8", timeout: limitMs });
  const must = (program: string, words: readonly string[], limitMs?: number): string => {
    const { status, stdout, stderr, error } = run(program, words, limitMs);
    if (status === 0) return stdout;
    throw new Error(`${program} ${words.join(" ")}: ${error?.message ?? `${stdout}\n${stderr}`}`);
  };
  const lab: ContainerLab = {
    dir,
    env,
    run,
    must,
    podman: (words, limitMs) => run("podman", words, limitMs),
    [Symbol.dispose]: () => {
      run("podman", ["pod", "rm", "--all", "--force", "--time", "0"]);
      run("podman", ["rm", "--all", "--force", "--time", "0"]);
      // The overlay driver keeps its own directory mounted.
      const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n").reverse();
      for (const path of mounts.map((line) => line.split(" ")[1] ?? ""))
        if (path.startsWith(`${dir}/`)) run("umount", [path]);
      rmSync(dir, { recursive: true, force: true });
    },
  };
  tagBase(lab);
  return lab;
}

/** Tags a Debian made here as the base that the Dockerfiles name: no registry of images is asked. */
function tagBase(lab: ContainerLab): void {
  const tar = join(CACHE, "bookworm.tar");
  if (!existsSync(tar)) {
    mkdirSync(CACHE, { recursive: true });
    const draft = `${tar}.${process.pid}.tar`;
    lab.must("mmdebstrap", ["--variant=apt", "--include=ca-certificates", "bookworm", draft]);
    renameSync(draft, tar);
  }
  const container = lab.must("buildah", ["from", "scratch"]).trim();
  lab.must("buildah", ["add", "--quiet", container, tar, "/"]);
  lab.must("buildah", ["commit", "--quiet", "--rm", container, BASE]);
}

/** Builds images of ours by name, as a person would; returns what was printed with `--json`. */
export function buildImages(lab: ContainerLab, names: readonly string[]): BuiltImage[] {
  const node = join(ROOT, `node_modules/node-linux-${process.arch}/bin/node`);
  const out = lab.must(node, ["scripts/images.mjs", ...names, "--json"], 900_000);
  return (JSON.parse(out.trim().split("\n").at(-1) ?? "") as { images: BuiltImage[] }).images;
}

export interface BuiltImage {
  name: string;
  reference: string;
  bytes: number;
  packages: number;
}
