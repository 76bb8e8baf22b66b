#!/usr/bin/env node
// Builds container images: npm run images [NAME…] [-- --base REF] [--registry PREFIX] [--list]. Each folder of images/ is one. What a
// Dockerfile copies is made here first, in build/images/NAME, from pinned versions. Plain JavaScript.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { makeBundle } from "./bundle.mjs";
import { installRuntimes, RUNTIMES } from "./runtimes.mjs";
import { findOnPath } from "./system-packages.mjs";

const root = fileURLToPath(new URL("../", import.meta.url));
const imagesDir = path.join(root, "images");
const contextsDir = path.join(root, "build/images");
const versions = JSON.parse(readFileSync(path.join(imagesDir, "versions.json"), "utf8"));
/** Of Debian bookworm, which the images are made of. */
const PYTHON = "3.11";
/** The lower layers of every runtime's image. */
const RUNTIME_BASE = "runtime-base";

const HELP = `Builds container images with buildah, podman or docker, whichever is there.

  npm run images                              all of them
  npm run images agentkube-agentlet           one
  npm run images claudecode                   a runtime, and runtime-base below it
  npm run images claudecode -- --base REF     on another Debian (default: docker.io/library/debian:bookworm-slim, pulled beforehand)
  npm run images -- --registry example.com/x  names them example.com/x/NAME:VERSION (default: adaptivelive)
  npm run images -- --list                    what there is, with versions
  npm run --silent images -- --json           says what was built as the last line: {images: [{name, reference, bytes, packages, seconds}]}

Versions are pinned in images/versions.json. What a registry of packages does not give is left out and said; the exit code is then 1.
`;

async function main(words) {
  const options = {
    base: { type: "string" },
    registry: { type: "string", default: "adaptivelive" },
    list: { type: "boolean" },
    json: { type: "boolean" },
    help: { type: "boolean", short: "h" },
  };
  const { values, positionals } = parseArgs({ args: words, options, allowPositionals: true });
  if (values.help) return void process.stdout.write(HELP);
  const known = readdirSync(imagesDir).filter((name) =>
    existsSync(path.join(imagesDir, name, "Dockerfile")),
  );
  if (values.list) {
    const lines = known.map((name) => `${name.padEnd(28)}${versionOf(name)}`);
    return void process.stdout.write(`${lines.join("\n")}\n`);
  }
  const unknown = positionals.filter((name) => !known.includes(name));
  if (unknown.length > 0)
    throw new Error(`Expected names of images, got "${unknown[0]}"; there are ${known.join(", ")}`);
  const engine = findEngine();
  const referenceOf = (name) => `${values.registry}/${name}:${versionOf(name)}`;
  const names = withBase(positionals.length > 0 ? positionals : known);
  const built = [];
  const failed = [];
  for (const [index, name] of names.entries()) {
    const started = performance.now();
    process.stderr.write(`images: ${index + 1} of ${names.length}: ${name} …\n`);
    try {
      const { packages } = await makeContext(name);
      const base = isRuntime(name) ? referenceOf(RUNTIME_BASE) : values.base;
      build(engine, name, referenceOf(name), base);
      const bytes = sizeOf(engine, referenceOf(name));
      const seconds = Math.round((performance.now() - started) / 1000);
      built.push({ name, reference: referenceOf(name), bytes, packages, seconds });
      process.stderr.write(
        `images: ${referenceOf(name)}: ${(bytes / 1e6).toFixed(0)} MB unpacked, ${packages} packages of ${name === "aider" ? "pip" : "npm"} (${seconds} s)\n`,
      );
    } catch (error) {
      // One that cannot be had here, such as Cursor's, does not stop the others; what lies below them does.
      if (names.length === 1 || name === RUNTIME_BASE) throw error;
      failed.push(name);
      process.stderr.write(`images: ${name}: ${error.message}\n`);
    }
  }
  if (values.json) process.stdout.write(`${JSON.stringify({ images: built, failed })}\n`);
  if (failed.length > 0) throw new Error(`Not built: ${failed.join(", ")}; see above`);
}

/** Every image once, and what a runtime lies on before it. */
function withBase(names) {
  return [...new Set(names.flatMap((name) => (isRuntime(name) ? [RUNTIME_BASE, name] : [name])))];
}

function isRuntime(name) {
  return Object.hasOwn(versions.runtimes, name);
}

function versionOf(name) {
  return versions.runtimes[name] ?? versions.agentkube;
}

/** What the Dockerfile copies, in build/images/NAME; how many npm packages are in it. */
async function makeContext(name) {
  const context = path.join(contextsDir, name);
  rmSync(context, { recursive: true, force: true });
  cpSync(path.join(imagesDir, name), context, { recursive: true });
  if (name.startsWith("agentkube-")) {
    makeRoot(path.join(context, "root"));
    const { packages } = await makeBundle(path.join(context, "bundle"));
    return { packages };
  }
  const runtime = RUNTIMES.find(({ image }) => image === name);
  if (runtime?.pip !== undefined)
    return { packages: downloadWheels(runtime, path.join(context, "wheels")) };
  if (runtime === undefined) {
    if (name === "cursor" && !existsSync(path.join(context, "cli/bin/cursor-agent")))
      throw new Error(
        'Expected the Cursor CLI at "images/cursor/cli/bin/cursor-agent"; its vendor gives it out by an installer only, see images/cursor/README.md',
      );
    return { packages: 0 };
  }
  const node = path.join(root, `node_modules/node-linux-${process.arch}/bin/node`);
  const [bin] = installRuntimes(node, [runtime.name]);
  if (bin === undefined)
    throw new Error(`Cannot build ${name}: its CLI could not be installed, see above`);
  const cli = path.join(context, "cli");
  // With hard links kept: a CLI of hundreds of megabytes may lie there under two names.
  run("cp", ["-a", path.dirname(path.dirname(bin)), cli]);
  if (runtime.native !== true) {
    mkdirSync(path.join(cli, "bin"), { recursive: true });
    cpSync(node, path.join(cli, "bin/node"));
  }
  return { packages: countPackages(path.join(cli, "node_modules")) };
}

/** A Python CLI and all that it needs, for Debian's Python, fetched by this machine's pip; returns how many packages. */
function downloadWheels({ pip, version }, dir) {
  const machine = { x64: "x86_64", arm64: "aarch64" }[process.arch];
  const platforms = ["manylinux2014", "manylinux_2_17", "manylinux_2_28"].flatMap((name) => [
    "--platform",
    `${name}_${machine}`,
  ]);
  const target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON];
  const words = ["-m", "pip", "download", "--quiet", ...target, ...platforms, "--dest", dir];
  run("python3", [...words, `${pip}==${version}`]);
  return readdirSync(dir).length;
}

/** The few files that a container of ours has besides the folder: names for its users, and directories to mount on. */
function makeRoot(dir) {
  const users = [
    ["agent", 1000],
    ["recorder", 2100],
    ["runner", 2200],
    ["manager", 2300],
  ];
  for (const name of [
    "etc",
    "workspace",
    "home/agent",
    "proc",
    "sys",
    "dev",
    "run",
    "var/lib/agentkube",
    "data",
  ])
    mkdirSync(path.join(dir, name), { recursive: true });
  mkdirSync(path.join(dir, "tmp"));
  // Whatever the umask: every user of ours may run with a volume there, or without one.
  chmodSync(path.join(dir, "tmp"), 0o1777);
  const lines = (each) =>
    ["root:x:0:0::/:/none", ...users.map(each)].map((line) => `${line}\n`).join("");
  writeFileSync(
    path.join(dir, "etc/passwd"),
    lines(([name, id]) => `${name}:x:${id}:${id}::/tmp:/none`),
  );
  writeFileSync(
    path.join(dir, "etc/group"),
    `root:x:0:\n${users.map(([name, id]) => `${name}:x:${id}:\n`).join("")}`,
  );
  writeFileSync(
    path.join(dir, "etc/nsswitch.conf"),
    "passwd: files\ngroup: files\nhosts: files dns\n",
  );
}

function countPackages(modules) {
  const found = spawnSync("find", [modules, "-name", "package.json"], { encoding: "utf8" });
  return found.stdout
    .split("\n")
    .filter((file) => /\/node_modules\/(?:@[^/]+\/)?[^/]+\/package\.json$/.test(file)).length;
}

function run(program, words) {
  const { status, stderr, error } = spawnSync(program, words, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${program}: ${error?.message ?? stderr.trim()}`);
}

/** The first container engine on PATH. */
function findEngine() {
  const name = ["buildah", "podman", "docker"].find((program) => findOnPath(program) !== null);
  if (name !== undefined) return name;
  throw new Error(
    "Expected buildah, podman or docker on PATH, found none; install one (Debian: apt-get install buildah)",
  );
}

/** The network is for the package manager of the base; chroot isolation asks for no privilege beyond what the build has. */
function build(engine, name, reference, base) {
  const words = [
    "build",
    "--network",
    "host",
    "--tag",
    reference,
    "--build-arg",
    `VERSION=${versionOf(name)}`,
  ];
  if (engine !== "docker") words.push("--pull=never", "--isolation", "chroot", "--layers");
  if (base !== undefined) words.push("--build-arg", `BASE=${base}`);
  const { status, stdout, stderr, error } = spawnSync(
    engine,
    [...words, path.join(contextsDir, name)],
    { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 },
  );
  if (status === 0) return;
  const said = `${stdout ?? ""}\n${stderr ?? ""}`.trim().split("\n").slice(-12).join("\n  ");
  throw new Error(error?.message ?? `${engine} could not build ${name}:\n  ${said}`);
}

/** Bytes of the image, unpacked. */
function sizeOf(engine, reference) {
  const words =
    engine === "buildah"
      ? ["images", "--json", reference]
      : ["image", "inspect", "--format", "{{.Size}}", reference];
  const { stdout } = spawnSync(engine, words, { encoding: "utf8" });
  if (engine !== "buildah") return Number(stdout);
  // buildah says it for people: "146 MB".
  const [, number = "NaN", unit = ""] =
    /([0-9.]+) ?(B|KB|MB|GB)/i.exec(JSON.parse(stdout)[0]?.size ?? "") ?? [];
  return Number(number) * ({ B: 1, KB: 1e3, MB: 1e6, GB: 1e9 }[unit.toUpperCase()] ?? Number.NaN);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`images: ${error.message}\n`);
  process.exitCode = 1;
}
