import { spawn } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { until } from "../../helpers/until.ts";
import { ChildStatus } from "../../../src/protocol/child-status.ts";
import type { ChildCommand } from "../../../src/protocol/run-spec.ts";
import type { TestRun } from "./run-spec.ts";

const program = fileURLToPath(new URL("../fixtures/recorder-child.ts", import.meta.url));

/** A real recorder, started as the supervisor starts it. */
export class RecorderProcess implements AsyncDisposable {
  readonly said: ChildStatus[] = [];
  log = "";
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #exited: Promise<unknown>;

  private constructor(child: ChildProcessByStdio<Writable, Readable, Readable>) {
    this.#child = child;
    this.#exited = once(child, "exit");
    child.stdin.on("error", () => undefined);
    child.stderr.on("data", (chunk: Buffer) => (this.log += chunk.toString("utf8")));
    createInterface({ input: child.stdout }).on("line", (line) => {
      this.said.push(ChildStatus.parse(JSON.parse(line)));
    });
  }

  /** `wrap`: a program, and its arguments, that starts it; `env`: more of its environment. */
  static async start(
    run: TestRun,
    { wrap = [], env = {} }: { wrap?: string[]; env?: Record<string, string> } = {},
  ): Promise<RecorderProcess> {
    const specPath = join(run.dir, "spec.json");
    await writeFile(specPath, JSON.stringify(run.spec));
    const [first, ...words] = [...wrap, process.execPath, program];
    const child = spawn(first, words, {
      env: { AGENTKUBE_RUN_SPEC: specPath, ...env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    const recorder = new RecorderProcess(child);
    child.stdin.write(`${JSON.stringify(run.boot)}\n`);
    await until(
      "recorder says something",
      () => recorder.said.length > 0 || child.exitCode !== null || child.signalCode !== null,
      60_000,
    );
    return recorder;
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  command(command: ChildCommand): void {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
  }

  /** The supervisor dies. */
  closeInput(): void {
    this.#child.stdin.end();
  }

  async killHard(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exited;
  }

  async exitCode(): Promise<number | null> {
    await this.#exited;
    return this.#child.exitCode;
  }

  sealed(): Extract<ChildStatus, { kind: "sealed" }>["recording"] | null {
    for (const status of this.said) if (status.kind === "sealed") return status.recording;
    return null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.killHard();
  }
}
