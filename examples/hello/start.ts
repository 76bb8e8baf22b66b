// The example from beginning to end: an API with a fresh certificate, manifests and a secret in private directories, one run
// of agentkube, and nothing left afterwards.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  constants,
  copyFileSync,
  cpSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { openGreetingApi } from "./greeting-api.ts";

const here = fileURLToPath(new URL("./", import.meta.url));
const agentkube = fileURLToPath(new URL("../../bin/agentkube.js", import.meta.url));

/** Runs the example with further arguments for `agentkube run`; resolves to its exit code. */
async function main(args: string[]): Promise<number> {
  if (args.includes("--detach")) {
    process.stderr.write(
      "Cannot detach the example: its API lives as long as this command; use agentkube run --detach with manifests of your own\n",
    );
    return 2;
  }
  const secret = `hello-secret-${randomBytes(24).toString("hex")}`;
  await using api = await openGreetingApi(secret);
  // Two directories: what the agent may see (its workspace) and what it may not (the secret's file).
  using configuration = temporaryDirectory("agentkube-hello-");
  using workspace = temporaryDirectory("agentkube-hello-workspace-");

  const secretFile = path.join(configuration.path, "token");
  writeFileSync(secretFile, secret, { mode: 0o600 });
  for (const name of ["agent.yaml", "tool.yaml"]) {
    const text = readFileSync(path.join(here, name), "utf8")
      .replaceAll("__PORT__", String(api.port))
      .replaceAll("__CA__", JSON.stringify(api.caPem));
    writeFileSync(path.join(configuration.path, name), text);
  }
  const toolPackage = path.join(configuration.path, "package");
  cpSync(path.join(here, "package"), toolPackage, { recursive: true });
  addNode(toolPackage);

  return await run([
    agentkube,
    "run",
    path.join(configuration.path, "agent.yaml"),
    path.join(configuration.path, "tool.yaml"),
    `--workspace=${workspace.path}`,
    `--secret=hello-token/token=@${secretFile}`,
    ...args,
  ]);
}

/** Puts this Node into the package: linked where that is possible, for it is large. */
function addNode(toolPackage: string): void {
  const target = path.join(toolPackage, "node");
  try {
    linkSync(process.execPath, target);
  } catch {
    // Another file system, or a link that the kernel does not allow.
    copyFileSync(process.execPath, target, constants.COPYFILE_FICLONE);
    chmodSync(target, 0o755);
  }
}

function temporaryDirectory(prefix: string): { path: string } & Disposable {
  const directory = mkdtempSync(path.join(tmpdir(), prefix));
  return {
    path: directory,
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** Runs Node on these arguments with our terminal. Signals go on to it: it decides how the run ends, we clean up. */
async function run(args: string[]): Promise<number> {
  const child = spawn(process.execPath, args, { stdio: "inherit" });
  const forward = (signal: NodeJS.Signals) => child.kill(signal);
  // A Ctrl-C of the terminal reaches the child by itself; one that was sent to us alone does not.
  const ignore = () => undefined;
  process.on("SIGTERM", forward).on("SIGHUP", forward);
  process.on("SIGINT", process.stdin.isTTY ? ignore : forward);
  return await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? 1));
  });
}

process.exitCode = await main(process.argv.slice(2));
