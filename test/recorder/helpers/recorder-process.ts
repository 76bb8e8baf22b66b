import { spawn } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { ChildStatus } from "../../../src/protocol/child-status.ts";
import type { ChildCommand } from "../../../src/protocol/run-spec.ts";
import type { TestRun } from "./run-spec.ts";
import { until } from "./until.ts";

const program = fileURLToPath(new URL("../fixtures/recorder-child.ts", import.meta.url));

/** A real recorder, started as the supervisor starts it. */
export class RecorderProcess implements AsyncDisposable {
  readonly said: ChildStatus[] = [];
  static pid = 0;
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

  static async start(run: TestRun): Promise<RecorderProcess> {
    const specPath = join(run.dir, "spec.json");
    await writeFile(specPath, JSON.stringify(run.spec));
    const child = spawn(process.execPath, [program], {
      env: { AGENTKUBE_RUN_SPEC: specPath },
      stdio: ["pipe", "pipe", "pipe"],
    });
    RecorderProcess.pid = child.pid ?? 0;
    const recorder = new RecorderProcess(child);
    child.stdin.write(`${JSON.stringify(run.boot)}\n`);
    await until(
      "recorder says something",
      () => recorder.said.length > 0 || child.exitCode !== null,
    );
    return recorder;
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
