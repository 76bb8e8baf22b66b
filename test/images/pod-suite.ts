import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { podObjects } from "../../src/cli/pod/pod-objects.ts";
import { Agent } from "../../src/protocol/agent-manifest.ts";
import { RunInfo } from "../../src/protocol/manager-api.ts";
import { PROTOCOL } from "../../src/protocol/version.ts";
import type { ContainerLab } from "./container-lab.ts";
import { playable } from "./play-pod.ts";

const MANAGER = "http://127.0.0.1:8082";
const NODE = "/opt/agentkube-bin/bin/node";

/** A run as a pod of podman's, from the manifest to what the manager has of it. */
class PlayedPod {
  readonly name: string;
  readonly #lab: ContainerLab;
  readonly #dataDir: string;

  private constructor(lab: ContainerLab, name: string, dataDir: string) {
    this.#lab = lab;
    this.name = name;
    this.#dataDir = dataDir;
  }

  static async play(
    lab: ContainerLab,
    referenceOf: (name: string) => string,
    name: string,
    script: string,
  ): Promise<PlayedPod> {
    const agent = Agent.parse({
      apiVersion: "agentkube.io/v1alpha1",
      kind: "Agent",
      metadata: { name },
      spec: {
        runtime: "Custom",
        command: ["/bin/sh", "-c", script],
        image: referenceOf("custom-example"),
        network: "gateway",
        timeout: "3m",
      },
    });
    const request = {
      agent,
      goal: "A goal",
      tools: [],
      namespace: "default",
      run: name,
      managerUrl: MANAGER,
    };
    const dir = mkdtempSync(join(lab.dir, "pod-"));
    const env = { AGENTKUBE_IMAGE_AGENTLET: referenceOf("agentkube-agentlet") };
    const made = playable(podObjects({ ...request, env }), {
      dir,
      secrets: {},
      manager: referenceOf("agentkube-manager"),
    });
    writeFileSync(join(dir, "pod.yaml"), made.yaml);
    lab.must("podman", ["kube", "play", "--network", "none", join(dir, "pod.yaml")], 120_000);
    const played = new PlayedPod(lab, name, join(made.hostDir("manager-data"), "agentkube"));
    await played.#register(made.tokenHashes);
    return played;
  }

  /** As whoever makes pods would: the run is announced with the hashes of its containers' tokens. */
  async #register(tokenHashes: Record<string, string>): Promise<void> {
    const file = join(this.#dataDir, "manager.json");
    await until("a manager", () => existsSync(file));
    const { token } = JSON.parse(readFileSync(file, "utf8")) as { token: string };
    const terminal = { cols: 120, rows: 40 };
    const facts = {
      agent: this.name,
      runtime: "Custom",
      mode: "system",
      tools: [],
      interactive: false,
    };
    const body = JSON.stringify({
      protocol: PROTOCOL,
      run: this.name,
      ...facts,
      terminal,
      tokenHashes,
    });
    const program = `const [url, token, body] = process.argv.slice(1);
      const headers = { authorization: "Bearer " + token, "content-type": "application/json" };
      const answer = await fetch(url, { method: "POST", headers, body });
      console.log(answer.status);`;
    const words = ["--input-type=module", "-e", program, `${MANAGER}/v1/pods`, token, body];
    await until("a registration", () => this.exec("manager", [NODE, ...words]).trim() === "201");
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

  exitCode(container: string): number {
    const words = ["inspect", "--format", "{{.State.ExitCode}}", `${this.name}-${container}`];
    return Number(this.#lab.must("podman", words));
  }

  /** What the manager has of the run once it has ended. */
  async ended(): Promise<{ info: RunInfo; cast: string }> {
    const file = join(this.#dataDir, "runs", this.name, "run.json");
    const read = (): RunInfo | null => {
      if (!existsSync(file)) return null;
      return RunInfo.parse((JSON.parse(readFileSync(file, "utf8")) as { info: unknown }).info);
    };
    await until(
      "the end of the run",
      () => read()?.phase === "ended",
      120_000,
      () =>
        ["manager", "session-recorder", "tool-runner", "agent"]
          .map((container) => `== ${container}\n${this.logs(container).slice(-2000)}`)
          .join("\n"),
    );
    const info = read();
    assert(info !== null);
    const path = join(this.#dataDir, "runs", this.name, "recording.cast");
    return { info, cast: readFileSync(path, "utf8") };
  }

  remove(): void {
    this.#lab.podman(["pod", "rm", "--force", "--time", "0", this.name]);
  }

  async started(text: string): Promise<void> {
    const path = join(this.#dataDir, "runs", this.name, "recording.cast");
    await until(
      `"${text}" in the recording`,
      () => existsSync(path) && readFileSync(path, "utf8").includes(text),
    );
  }
}

async function until(
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

/** What an agent tries in its container. Each line of the output begins with what was tried. Brackets keep a search from finding itself. */
const CURIOUS = `
t=/var/run/agentkube/token/token
echo "token: $(cat $t 2>&1; cat /proc/self/root$t 2>&1; cat /run/agentkube/token/token 2>&1)"
echo "secrets: $(ls /var/run/agentkube/secrets 2>&1)"
echo "caps: $(grep CapEff /proc/self/status)"
echo "privs: $(grep NoNewPrivs /proc/self/status)"
echo "uid: $(id -u)"
echo "env: $(cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c TOKEN_FILE)"
echo "others: $(cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -cE 'tool-runne[r]|session-recorde[r]|manage[r]')"
echo "unlink: $(rm -f /run/agentkube/frames/frames.sock 2>&1; rm -f /run/agentkube/runner/runner.sock 2>&1)"
echo "replace: $(touch /run/agentkube/frames/x 2>&1)"
echo "install: $(touch /opt/agentkube-bin/x 2>&1)"
echo "spec: $(touch /etc/agentkube/x 2>&1)"
echo "root: $(touch /x /usr/x /etc/x 2>&1 | wc -l)"
echo "kill: $(for p in /proc/[0-9]*; do n=\${p#/proc/}; tr '\\0' ' ' < $p/cmdline | grep -q "agentle[t]" && kill -9 $n 2>&1; done)"
echo mine > /workspace/file && echo "workspace: $(cat /workspace/file)"
echo mine > $HOME/file && echo "home: $(cat $HOME/file)"
echo "goal: $AGENTKUBE_GOAL"
exit 3
`;

/** Runs as pods, played by podman with the images that were built. `of`: what `before` has opened by the time a test runs. */
export function podSuite(
  of: () => { lab: ContainerLab; referenceOf: (name: string) => string },
): void {
  suite("pods", () => {
    test("a run as a pod ends with its program's code and a verified recording; its agent finds no token, no way out of its container, and nobody to harm", async () => {
      const { lab, referenceOf } = of();
      const pod = await PlayedPod.play(lab, referenceOf, "curious", CURIOUS);
      try {
        const { info, cast } = await pod.ended();
        assert.deepEqual(
          [info.end?.outcome, info.end?.reason, info.end?.exitCode],
          ["failed", "exited", 3],
        );
        assert.equal(info.recording?.verified, true);
        assert.equal(pod.exitCode("agent"), 3);
        const said = cast
          .split("\n")
          .flatMap((line) =>
            line.startsWith("[") ? [(JSON.parse(line) as [number, string, string])[2]] : [],
          )
          .join("");
        const expected: Record<string, RegExp> = {
          token: /(?:Permission denied[^]*){2}/,
          secrets: /No such file|Permission denied/,
          caps: /CapEff:\s0000000000000000/,
          privs: /NoNewPrivs:\s1/,
          uid: /^1000$/,
          env: /^0$/,
          others: /^0$/,
          unlink: /(?:Read-only file system[^]*){2}/,
          replace: /Read-only/,
          install: /Read-only/,
          spec: /Read-only/,
          root: /^3$/,
          kill: /not permitted/,
          workspace: /^mine$/,
          home: /^mine$/,
          goal: /^A goal$/,
        };
        for (const [tried, result] of Object.entries(expected)) {
          const got =
            new RegExp(`^${tried}: ([^]*?)\\r?\\n(?=[a-z]+: |$)`, "m").exec(said)?.[1] ??
            "(nothing)";
          assert.match(got.trim(), result, `${tried}: ${got}`);
        }
      } finally {
        pod.remove();
      }
    });

    test("a pod that is told to end stops its agent in time, and its recording is sealed and verified", async () => {
      const { lab, referenceOf } = of();
      const pod = await PlayedPod.play(
        lab,
        referenceOf,
        "stopped",
        "trap '' INT TERM; echo working; sleep 1000; sleep 1000",
      );
      try {
        await pod.started("working");
        const started = performance.now();
        // As kubelet does: the containers first, the sidecars after them.
        pod.stop("agent", 20);
        assert(performance.now() - started < 20_000, "the agent's container ended by itself");
        pod.stop("session-recorder", 25);
        const { info } = await pod.ended();
        assert.deepEqual([info.end?.outcome, info.end?.reason], ["cancelled", "cancelled"]);
        assert.equal(info.recording?.verified, true);
      } finally {
        pod.remove();
      }
    });

    test("an agent's container that is killed leaves a recording that says so, whole at the manager", async () => {
      const { lab, referenceOf } = of();
      const pod = await PlayedPod.play(lab, referenceOf, "killed", "echo before; sleep 1000");
      try {
        await pod.started("before");
        pod.kill("agent");
        pod.stop("session-recorder", 25);
        const { info, cast } = await pod.ended();
        assert.deepEqual([info.end?.outcome, info.end?.reason], ["failed", "agentlet_fault"]);
        assert.equal(info.recording?.verified, true);
        assert.match(cast, /before/);
        assert.doesNotMatch(cast, /"x"/, "no exit is on record, for nobody saw one");
      } finally {
        pod.remove();
      }
    });

    test("a recorder that is killed and started again goes on with the same recording", async () => {
      const { lab, referenceOf } = of();
      const pod = await PlayedPod.play(
        lab,
        referenceOf,
        "again",
        "for i in $(seq 60); do echo line $i; sleep 0.2; done",
      );
      try {
        await pod.started("line 5");
        pod.kill("session-recorder");
        lab.must("podman", ["start", "again-session-recorder"]);
        const { info, cast } = await pod.ended();
        assert.deepEqual([info.end?.outcome, info.end?.reason], ["succeeded", "exited"]);
        assert.equal(info.recording?.verified, true);
        for (let line = 1; line <= 60; line += 1) assert.match(cast, new RegExp(`line ${line}\\b`));
      } finally {
        pod.remove();
      }
    });
  });
}
