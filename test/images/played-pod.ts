import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import timers from "node:timers/promises";
import type { Container } from "kubernetes-types/core/v1.d.ts";
import { announcementOf } from "../../src/cli/pod/announcement.ts";
import { checkForPod, type PodRequest } from "../../src/cli/pod/pod-request.ts";
import { type PodObject, podObjects } from "../../src/cli/pod/pod-objects.ts";
import { Agent } from "../../src/protocol/agent-manifest.ts";
import { RunInfo } from "../../src/protocol/manager-api.ts";
import type { Tool } from "../../src/protocol/tool-manifest.ts";
import type { ContainerLab } from "./container-lab.ts";
import { type PlayablePod, playable } from "./play-pod.ts";

const MANAGER = "http://127.0.0.1:8082";
const NODE = "/opt/agentkube-bin/bin/node";
const SERVICES = join(import.meta.dirname, "../fixtures/pod-services");

/** What is open while the suites of pods run. */
export interface Range {
  lab: ContainerLab;
  referenceOf: (name: string) => string;
}

export interface PodOptions {
  name: string;
  /** of the Agent, over what a Custom runtime of the example needs */
  spec?: Record<string, unknown>;
  /** of the agent's shell; for a Custom runtime */
  script?: string;
  goal?: string;
  tools?: readonly Tool[];
  secrets?: Record<string, Record<string, string>>;
  /** programs of the host that serve on the pod's loopback: an API, a model */
  services?: { program: string; input: object }[];
  /** before the pod is made: its volumes are there */
  prepare?: (made: PlayablePod) => void;
  alter?: (container: Container) => Container;
}

/** A run as a pod of podman's, from the manifest to what the manager has of it. */
export class PlayedPod implements AsyncDisposable {
  readonly name: string;
  readonly services: readonly Service[];
  /** as `agentkube pod` prints them */
  readonly objects: readonly PodObject[];
  readonly #lab: ContainerLab;
  readonly #made: PlayablePod;
  readonly #dataDir: string;

  private constructor(
    lab: ContainerLab,
    name: string,
    made: PlayablePod,
    services: readonly Service[],
    objects: readonly PodObject[],
  ) {
    this.#lab = lab;
    this.name = name;
    this.objects = objects;
    this.#made = made;
    this.services = services;
    this.#dataDir = join(made.hostDir("manager-data"), "agentkube");
  }

  static async play({ lab, referenceOf }: Range, options: PodOptions): Promise<PlayedPod> {
    const { name, tools = [] } = options;
    const request: PodRequest = {
      agent: agentOf(options, referenceOf),
      goal: options.goal ?? "A goal",
      tools,
      namespace: "default",
      run: name,
      managerUrl: MANAGER,
      env: { AGENTKUBE_IMAGE_AGENTLET: referenceOf("agentkube-agentlet") },
    };
    checkForPod(request);
    const dir = mkdtempSync(join(lab.dir, "pod-"));
    const objects = podObjects(request);
    const made = playable(objects, {
      dir,
      secrets: options.secrets ?? {},
      manager: referenceOf("agentkube-manager"),
      ...(options.alter === undefined ? {} : { alter: options.alter }),
    });
    options.prepare?.(made);
    writeFileSync(join(dir, "pod.yaml"), made.yaml);
    const users = made.ownUsers ? ["--userns", "auto:size=65536"] : [];
    const profiles = ["--seccomp-profile-root", lab.profiles];
    const play = ["kube", "play", "--network", "none", ...users, ...profiles];
    const { status, stdout, stderr } = lab.podman([...play, join(dir, "pod.yaml")], 240_000);
    const services: Service[] = [];
    const pod = new PlayedPod(lab, name, made, services, objects);
    try {
      if (status !== 0) throw new PlayError(`${stdout}\n${stderr}`);
      for (const { name: container, words } of made.separately)
        lab.must("podman", [
          "run",
          "--detach",
          "--pod",
          name,
          "--name",
          `${name}-${container}`,
          ...words.map((word) => word.replace("PROFILES", lab.profiles)),
        ]);
      for (const { program, input } of options.services ?? [])
        services.push(await Service.start(pod.#networkOf(), program, input));
      await pod.#announce(made.tokenHashes, request);
      return pod;
    } catch (error) {
      if (error instanceof PlayError) throw new PlayError(`${error.message}\n${pod.lastWords()}`);
      await pod[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** As whoever makes pods would: the run is announced with the hashes of its containers' tokens. */
  async #announce(tokenHashes: PlayablePod["tokenHashes"], request: PodRequest): Promise<void> {
    const file = join(this.#dataDir, "manager.json");
    await until("a manager", () => existsSync(file));
    const { token } = JSON.parse(readFileSync(file, "utf8")) as { token: string };
    const body = JSON.stringify({ ...announcementOf(request), tokenHashes });
    const program = `const [url, token, body] = process.argv.slice(1);
      const headers = { authorization: "Bearer " + token, "content-type": "application/json" };
      const answer = await fetch(url, { method: "POST", headers, body });
      console.log(answer.status);`;
    const words = ["--input-type=module", "-e", program, `${MANAGER}/v1/pods`, token, body];
    await until("a registration", () => this.exec("manager", [NODE, ...words]).trim() === "201");
  }

  /** Where the pod's loopback is. */
  #networkOf(): string {
    return `/proc/${this.pidOf("manager")}/ns/net`;
  }

  /** On the host, of the container's first process. */
  pidOf(container: string): number {
    const words = ["inspect", "--format", "{{.State.Pid}}", `${this.name}-${container}`];
    return Number(this.#lab.must("podman", words));
  }

  exec(container: string, words: readonly string[]): string {
    return this.#lab.podman(["exec", `${this.name}-${container}`, ...words]).stdout;
  }

  logs(container: string): string {
    const { stdout, stderr } = this.#lab.podman(["logs", `${this.name}-${container}`]);
    return `${stdout}\n${stderr}`;
  }

  stop(container: string, seconds: number): void {
    this.#lab.podman(["stop", "--time", String(seconds), `${this.name}-${container}`]);
  }

  kill(container: string): void {
    this.#lab.podman(["kill", "--signal", "KILL", `${this.name}-${container}`]);
  }

  /** As kubelet does with a sidecar that has ended. */
  startAgain(container: string): void {
    this.#lab.must("podman", ["start", `${this.name}-${container}`]);
  }

  exitCode(container: string): number {
    const words = ["inspect", "--format", "{{.State.ExitCode}}", `${this.name}-${container}`];
    return Number(this.#lab.must("podman", words));
  }

  terminationMessage(container: string): string {
    return readFileSync(this.#made.terminationLog(container), "utf8");
  }

  hostDir(volume: string): string {
    return this.#made.hostDir(volume);
  }

  /** A file of the run at the manager. */
  fileOf(name: string): string {
    return join(this.#dataDir, "runs", this.name, name);
  }

  /** What the manager has of the run once it has ended. */
  async ended(limitMs = 120_000): Promise<{ info: RunInfo; cast: string; said: string }> {
    const read = (): RunInfo | null => {
      const file = this.fileOf("run.json");
      if (!existsSync(file)) return null;
      return RunInfo.parse((JSON.parse(readFileSync(file, "utf8")) as { info: unknown }).info);
    };
    await until(
      "end of the run",
      () => read()?.phase === "ended",
      limitMs,
      () => this.lastWords(),
    );
    const info = read();
    assert(info !== null);
    const cast = this.recording();
    return { info, cast, said: outputOf(cast) };
  }

  recording(): string {
    const path = this.fileOf("recording.cast");
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }

  async started(text: string): Promise<void> {
    await until(
      `"${text}" in the recording`,
      () => this.recording().includes(text),
      90_000,
      () => this.lastWords(),
    );
  }

  /** The end of every container's log, for a test that fails. */
  lastWords(): string {
    const names = ["manager", "session-recorder", "tool-runner", "agent"];
    return names.map((name) => `== ${name}\n${this.logs(name).slice(-3000)}`).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const service of this.services) await service[Symbol.asyncDispose]();
    this.#lab.podman(["pod", "rm", "--force", "--time", "0", this.name]);
  }
}

/** A pod that could not be started: the message is what podman said. */
export class PlayError extends Error {}

/** A program of the host in the pod's network: reads one JSON line, prints `ready`, then what it sees, one JSON line each. */
class Service implements AsyncDisposable {
  readonly seen: unknown[] = [];
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(network: string, program: string, input: object): Promise<Service> {
    const words = [`--net=${network}`, process.execPath, join(SERVICES, program)];
    const child = spawn("nsenter", words, { stdio: ["pipe", "pipe", "inherit"] });
    const service = new Service(child);
    const ready = Promise.withResolvers<void>();
    let rest = "";
    child.stdout.on("data", (chunk: Buffer) => {
      const lines = (rest + chunk.toString("utf8")).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines)
        if (line === "ready") ready.resolve();
        else service.seen.push(JSON.parse(line));
    });
    child.once("exit", (code) => ready.reject(new Error(`${program} ended with ${code}`)));
    child.stdin.end(`${JSON.stringify(input)}\n`);
    await ready.promise;
    return service;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }
}

function agentOf({ name, spec, script }: PodOptions, imageOf: (name: string) => string): Agent {
  return Agent.parse({
    apiVersion: "agentkube.io/v1alpha1",
    kind: "Agent",
    metadata: { name },
    spec: {
      runtime: "Custom",
      ...(script === undefined ? {} : { command: ["/bin/sh", "-c", script] }),
      image: imageOf("custom-example"),
      network: "gateway",
      timeout: "3m",
      ...spec,
    },
  });
}

/** What the terminal showed, without the rest of the recording. */
function outputOf(cast: string): string {
  return cast
    .split("\n")
    .flatMap((line) => {
      if (!line.startsWith("[")) return [];
      const [, kind, text] = JSON.parse(line) as [number, string, string];
      return kind === "o" ? [text] : [];
    })
    .join("");
}

export async function until(
  what: string,
  condition: () => boolean,
  limitMs = 90_000,
  explain = (): string => "",
): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > deadline)
      throw new Error(`No ${what} within ${limitMs} ms\n${explain()}`);
    await timers.setTimeout(200);
  }
}
