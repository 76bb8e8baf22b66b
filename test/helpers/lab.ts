// A place for one end-to-end test: directories of its own for data, workspace, configuration, runtime files and HOME, the real
// command line, and a look at what is left afterwards.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import timers from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { until } from "./until.ts";
import { ManagerFile, RunInfo } from "../../src/protocol/manager-api.ts";
import { RunResult } from "../../src/protocol/results.ts";
import { processesNaming } from "./processes.ts";
import type { SeenProcess } from "./processes.ts";

/** The repository. */
export const repository = fileURLToPath(new URL("../../", import.meta.url));
const agentkube = path.join(repository, "bin/agentkube.js");

export interface CliEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: Buffer;
  stderr: string;
  /** both, for messages that may be on either */
  text: string;
}

export interface CliOptions {
  env?: Record<string, string>;
  cwd?: string;
  /** how long it may take before it is killed and the test fails; default 50 s */
  timeoutMs?: number;
}

/** A running `agentkube`, or a program that starts one. */
export class RunningCli {
  readonly child: ChildProcess;
  readonly ended: Promise<CliEnd>;
  #stdout: Buffer[] = [];
  #stderr = "";

  constructor(child: ChildProcess, timeoutMs: number) {
    this.child = child;
    child.stdout?.on("data", (chunk: Buffer) => this.#stdout.push(chunk));
    child.stderr?.on("data", (chunk: Buffer) => (this.#stderr += chunk.toString("utf8")));
    this.ended = new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        child.kill("SIGKILL");
        reject(
          new Error(
            `${child.spawnargs.join(" ")} did not end in ${timeoutMs} ms. So far:\n${this.stdout}\n${this.#stderr}`,
          ),
        );
      }, timeoutMs);
      child.once("error", (error) => {
        clearTimeout(late);
        reject(error);
      });
      child.once("close", (code, signal) => {
        clearTimeout(late);
        const stdout = Buffer.concat(this.#stdout);
        resolve({
          code,
          signal,
          stdout,
          stderr: this.#stderr,
          text: `${stdout.toString("utf8")}\n${this.#stderr}`,
        });
      });
    });
    // A test that fails earlier leaves it unread.
    this.ended.catch(() => undefined);
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  get stdout(): string {
    return Buffer.concat(this.#stdout).toString("utf8");
  }

  get stderr(): string {
    return this.#stderr;
  }
}

export interface Lab extends AsyncDisposable {
  readonly root: string;
  /** `--data` */
  readonly data: string;
  /** `--workspace` */
  readonly workspace: string;
  /** manifests, secrets, packages: nothing the agent may see */
  readonly config: string;
  readonly runtime: string;
  readonly tmp: string;
  readonly home: string;
  /** Writes a file of the configuration and returns its path. Objects are written as JSON, which is YAML. */
  write(name: string, content: string | Buffer | object | object[], mode?: number): string;
  start(program: string, args: string[], options?: CliOptions): RunningCli;
  /** Starts `agentkube` with these words. */
  agentkube(words: string[], options?: CliOptions): RunningCli;
  /** `agentkube run --json`, with the workspace and data directory of the lab unless the words name others. */
  run(words: string[], options?: CliOptions): RunningCli;
  manager(): ManagerFile;
  /** GET at the manager, with the operator token. */
  get(route: string): Promise<unknown>;
  /** The one run of this lab, once the manager knows it and `ready` accepts it. */
  waitForRun(ready?: (info: RunInfo) => boolean, timeoutMs?: number): Promise<RunInfo>;
  /** Processes that name a directory of this lab in their arguments, environment, or working directory. */
  processes(): SeenProcess[];
  /** What is there and should not be: processes, runtime and temporary files, spools. Waits a little for the last ones. */
  leftovers(): Promise<string[]>;
}

/** Opens a lab. Disposing it kills what the test left and removes every file. */
export function openLab(): Lab {
  // Short: socket paths have at most 107 bytes.
  const root = mkdtempSync(path.join(tmpdir(), "aklab-"));
  const dirs = Object.fromEntries(
    ["data", "workspace", "config", "runtime", "tmp", "home"].map((name) => [
      name,
      path.join(root, name),
    ]),
  ) as Record<"data" | "workspace" | "config" | "runtime" | "tmp" | "home", string>;
  for (const [name, dir] of Object.entries(dirs))
    if (name !== "data") mkdirSync(dir, { mode: 0o700 });

  const lab: Lab = {
    root,
    ...dirs,
    write(name, content, mode = 0o644) {
      const file = path.join(dirs.config, name);
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, bytesOf(content), { mode });
      return file;
    },
    start(program, args, options = {}) {
      const child = spawn(program, args, {
        cwd: options.cwd ?? dirs.workspace,
        env: { ...environment(), ...options.env },
        stdio: ["ignore", "pipe", "pipe"],
      });
      return new RunningCli(child, options.timeoutMs ?? 50_000);
    },
    agentkube: (words, options) => lab.start(process.execPath, [agentkube, ...words], options),
    run(words, options) {
      const missing = (["data", "workspace"] as const)
        .filter((name) => !words.includes(`--${name}`))
        .map((name) => `--${name}=${dirs[name]}`);
      return lab.agentkube(["run", "--json", ...missing, ...words], options);
    },
    manager: () =>
      ManagerFile.parse(JSON.parse(readFileSync(path.join(dirs.data, "manager.json"), "utf8"))),
    async get(route) {
      const { port, token } = lab.manager();
      const response = await fetch(`http://127.0.0.1:${port}${route}`, {
        headers: { authorization: `Bearer ${token}` },
        signal: AbortSignal.timeout(5000),
      });
      return await response.json();
    },
    async waitForRun(ready = () => true, timeoutMs) {
      return await until(
        "the run",
        async () => {
          const { runs } = (await lab.get("/v1/runs")) as { runs: unknown[] };
          return runs.map((run) => RunInfo.parse(run)).find((info) => ready(info));
        },
        timeoutMs,
      );
    },
    processes: () => processesNaming(root).filter(({ pid }) => pid !== process.pid),
    async leftovers() {
      let left: string[] = [];
      for (let waited = 0; waited < 20_000; waited += 100) {
        left = [
          ...lab.processes().map(({ pid, command }) => `process ${pid}: ${command}`),
          ...[dirs.runtime, dirs.tmp, path.join(dirs.data, "spool")].flatMap(entriesOf),
        ];
        if (left.length === 0) return [];
        await timers.setTimeout(100);
      }
      return left;
    },
    async [Symbol.asyncDispose]() {
      // A few rounds: a supervisor that dies last may have started something in between.
      for (let round = 0; round < 20; round++) {
        const left = lab.processes();
        if (left.length === 0) break;
        for (const { pid } of left) killQuietly(pid);
        await timers.setTimeout(50);
      }
      makeRemovable(root);
      rmSync(root, { recursive: true, force: true });
    },
  };
  return lab;

  function environment(): Record<string, string> {
    return {
      PATH: process.env["PATH"] ?? "/usr/bin:/bin",
      LANG: "C.UTF-8",
      HOME: dirs.home,
      XDG_RUNTIME_DIR: dirs.runtime,
      TMPDIR: dirs.tmp,
    };
  }
}

/** The last line of `run --json`. Fails with everything that was said when it is not there. */
export function resultOf(end: CliEnd): RunResult {
  const line = end.stdout.toString("utf8").trim().split("\n").at(-1) ?? "";
  try {
    return RunResult.parse(JSON.parse(line));
  } catch (error) {
    throw new Error(
      `Expected a RunResult as the last line; code ${end.code}, signal ${end.signal}\n${end.text}`,
      { cause: error },
    );
  }
}

function bytesOf(content: string | Buffer | object): string | Buffer {
  if (typeof content === "string" || Buffer.isBuffer(content)) return content;
  const documents = Array.isArray(content) ? content : [content];
  return documents.map((document) => JSON.stringify(document, null, 1)).join("\n---\n");
}

function entriesOf(dir: string): string[] {
  try {
    return readdirSync(dir).map((name) => path.join(dir, name));
  } catch {
    return [];
  }
}

/** The store of packages is read-only; only root removes files from such directories. */
export function makeRemovable(dir: string): void {
  chmodSync(dir, 0o700);
  for (const entry of readdirSync(dir, { withFileTypes: true }))
    if (entry.isDirectory()) makeRemovable(path.join(dir, entry.name));
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // already gone
  }
}
