// The real manager in a process of its own, for tests that kill it, stop it or spoil what it stands on.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { until } from "./until.ts";
import { MANAGER_THREADS } from "../../src/cli/ensure-manager.ts";
import { ManagerFile } from "../../src/protocol/manager-api.ts";
import { repository } from "./lab.ts";

/** The real manager, as `agentkube run` starts it. */
export class RealManager implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #gone: Promise<unknown>;
  readonly #file: ManagerFile;

  private constructor(child: ChildProcess, file: ManagerFile) {
    this.#child = child;
    this.#gone = once(child, "exit");
    this.#file = file;
  }

  /** `env`: more of its environment. */
  static async start(
    data: string,
    port: number,
    env: Record<string, string> = {},
  ): Promise<RealManager> {
    const words = ["bin/agentkube.js", "manager", "--data", data, "--port", String(port)];
    const child = spawn(process.execPath, words, {
      cwd: repository,
      env: { ...process.env, ...MANAGER_THREADS, ...env },
      stdio: ["ignore", "ignore", "ignore"],
    });
    const file = await until(
      "the manager",
      () => {
        const text = readFileSync(path.join(data, "manager.json"), "utf8");
        const said = ManagerFile.parse(JSON.parse(text));
        return said.pid === child.pid ? said : undefined;
      },
      60_000,
    );
    return new RealManager(child, file);
  }

  /** Takes a run in, as its supervisor would. */
  async register(body: object): Promise<void> {
    const answer = await this.#ask("/v1/runs", { method: "POST", body: JSON.stringify(body) });
    assert.equal(answer.status, 201, await answer.text());
  }

  async facts(): Promise<{ deferred: number; peakMiB: number }> {
    const numbers = await (await this.#ask("/metrics")).text();
    const deferred = Number(
      /^agentkube_manager_recorders_deferred_total (\d+)$/m.exec(numbers)?.[1],
    );
    const status = readFileSync(`/proc/${this.#child.pid}/status`, "utf8");
    const peakKiB = Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]);
    return { deferred, peakMiB: Math.round(peakKiB / 1024) };
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await this.#gone;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #ask(route: string, init: RequestInit = {}): Promise<Response> {
    return await fetch(`http://127.0.0.1:${this.#file.port}${route}`, {
      ...init,
      headers: { authorization: `Bearer ${this.#file.token}` },
    });
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
