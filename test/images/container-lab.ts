import { spawnSync, type SpawnSyncReturns } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { native } from "../../src/kit/native.ts";
import { writeProfiles } from "./seccomp-profiles.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const BASE = "docker.io/library/debian:bookworm-slim";
/** Each program, and the package that brings it: `npm run test:images` installs them. */
const TOOLS = JSON.parse(
  readFileSync(join(ROOT, "scripts/container-tools.json"), "utf8"),
) as Record<string, string>;
/** What takes minutes to make is kept beside the runtimes: a Debian, and the layers that are built on it. */
const CACHE = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "agentkube");

/** Why images cannot be built here, as a reason to skip; false when they can. */
export function lacksContainers(): string | false {
  if (process.getuid?.() !== 0) return "building and running containers needs root here";
  const path = (process.env["PATH"] ?? "").split(delimiter);
  const missing = Object.keys(TOOLS).filter(
    (name) => !path.some((dir) => existsSync(join(dir, name))),
  );
  if (missing.length > 0) return `${missing.join(", ")} not on PATH`;
  const isRanged = ["/etc/subuid", "/etc/subgid"].every(
    (file) => existsSync(file) && /^containers:/m.test(readFileSync(file, "utf8")),
  );
  return isRanged ? false : "no users for pods: npm run test:images puts them into /etc/subuid";
}

/** A place for images and containers of its own: nothing of it is seen by, or left for, the machine's own engine. Images are kept. */
export interface ContainerLab extends Disposable {
  readonly dir: string;
  readonly env: NodeJS.ProcessEnv;
  /** seccomp profiles, as kubelet's directory on a node has them */
  readonly profiles: string;
  run(program: string, words: readonly string[], limitMs?: number): SpawnSyncReturns<string>;
  /** The same, and throws what was said when it fails. */
  must(program: string, words: readonly string[], limitMs?: number): string;
  podman(words: readonly string[], limitMs?: number): SpawnSyncReturns<string>;
}

export function openContainerLab(): ContainerLab {
  const dir = mkdtempSync(join(tmpdir(), "agentkube-images-"));
  const storage = takeStorage();
  const home = storage?.dir ?? dir;
  const file = (name: string, lines: readonly string[]): string => {
    writeFileSync(join(dir, name), `${lines.join("\n")}\n`);
    return join(dir, name);
  };
  const env = {
    ...process.env,
    CONTAINERS_STORAGE_CONF: file("storage.conf", [
      "[storage]",
      'driver = "overlay"',
      `graphroot = "${home}/graph"`,
      `runroot = "${home}/run"`,
    ]),
    // podman asks for more files than root may have without CAP_SYS_RESOURCE, and crun for a cgroup of version 2.
    CONTAINERS_CONF: file("containers.conf", [
      "[containers]",
      'default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]',
      "[engine]",
      'runtime = "runc"',
      'cgroup_manager = "cgroupfs"',
      'events_logger = "file"',
      // Beside the machine's own podman: nothing of ours has a name that it knows.
      'lock_type = "file"',
      `tmp_dir = "${home}/tmp"`,
    ]),
  };
  const run = (program: string, words: readonly string[], limitMs = 300_000) =>
    spawnSync(program, words, {
      cwd: ROOT,
      env,
      encoding: "utf8",
      timeout: limitMs,
      maxBuffer: 64 * 1024 * 1024,
    });
  const must = (program: string, words: readonly string[], limitMs?: number): string => {
    const { status, stdout, stderr, error } = run(program, words, limitMs);
    if (status === 0) return stdout;
    throw new Error(`${program} ${words.join(" ")}: ${error?.message ?? `${stdout}\n${stderr}`}`);
  };
  const removeContainers = (): void => {
    run("podman", ["pod", "rm", "--all", "--force", "--time", "0"]);
    run("podman", ["rm", "--all", "--force", "--time", "0"]);
  };
  const profiles = join(dir, "seccomp");
  writeProfiles(profiles);
  const lab: ContainerLab = {
    dir,
    profiles,
    env,
    run,
    must,
    podman: (words, limitMs) => run("podman", words, limitMs),
    [Symbol.dispose]: () => {
      removeContainers();
      // What no name leads to any more: images of earlier builds.
      if (storage !== null) run("podman", ["image", "prune", "--force"]);
      // The overlay driver keeps its own directory mounted.
      const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n").reverse();
      for (const path of mounts.map((line) => line.split(" ")[1] ?? ""))
        if (path.startsWith(`${dir}/`) || path.startsWith(`${home}/`))
          run("umount", ["--lazy", path]);
      rmSync(dir, { recursive: true, force: true });
      storage?.[Symbol.dispose]();
    },
  };
  // A run that was killed left its containers in the storage.
  removeContainers();
  tagBase(lab);
  return lab;
}

/** The kept storage, if nobody else uses it now; null: the lab has one of its own for once. */
function takeStorage(): ({ dir: string } & Disposable) | null {
  const dir = join(CACHE, "containers");
  mkdirSync(dir, { recursive: true });
  const descriptor = openSync(join(dir, "lock"), "a", 0o600);
  if (native().lockFile(descriptor)) return { dir, [Symbol.dispose]: () => closeSync(descriptor) };
  closeSync(descriptor);
  return null;
}

/** Tags a Debian made here as the base that the Dockerfiles name: no registry of images is asked. */
function tagBase(lab: ContainerLab): void {
  if (lab.podman(["image", "exists", BASE]).status === 0) return;
  const tar = join(CACHE, "base/bookworm.tar");
  if (!existsSync(tar)) {
    mkdirSync(dirname(tar), { recursive: true });
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
