import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { Agent } from "../../src/protocol/agent-manifest.ts";
import { verifyAudit } from "../../src/protocol/audit-verify.ts";
import { Tool } from "../../src/protocol/tool-manifest.ts";
import { CertificateAuthority } from "../../src/tool-runner/boundary/certificate-authority.ts";
import type { ContainerLab } from "./container-lab.ts";
import { PlayedPod, type Range } from "./played-pod.ts";

const HELLO = fileURLToPath(new URL("../../examples/hello/", import.meta.url));
const IMAGE = "localhost/hello-tool:1";
const PORT = 9443;
const MODEL_PORT = 9444;
const TOOL_SAYS = "half past tool";
const SECRET = `hello-secret-${"0123456789abcdef".repeat(3)}`;

/** Waits at some 350 MiB until the others are there too, then goes beyond 400. */
const TAKES = `const held = [];
const take = () => held.push(Buffer.alloc(2 ** 20, 1));
for (let i = 0; i < 300; i++) take();
setTimeout(() => setInterval(take, 20), 4000);`;

/** Tools with credentials in a pod, and a real CLI. */
export function podToolsSuite(of: () => Range): void {
  suite("tools in a pod", () => {
    before(() => buildToolImage(of().lab));

    test("the hello example: a credentialed call by shim and by MCP, masked, audited, with receipts", async () => {
      const authority = new CertificateAuthority({ name: "agentkube hello" });
      const tls = authority.issue("api.hello.internal");
      const manifest = (name: string): unknown =>
        parse(
          readFileSync(join(HELLO, name), "utf8")
            .replaceAll("__PORT__", String(PORT))
            .replaceAll("__CA__", JSON.stringify(authority.certPem)),
        );
      const tool = Tool.parse(manifest("tool.yaml"));
      const { package: _, ...spec } = tool.spec;
      const { image: _image, ...agent } = Agent.parse(manifest("agent.yaml")).spec;
      // In a pod the containers share one loopback: only the secret keeps the agent from the API itself.
      const [, , script = ""] = agent.command ?? [];
      const command = ["/bin/sh", "-c", script.slice(0, script.indexOf('echo "== 4.'))];

      await using pod = await PlayedPod.play(of(), {
        name: "hello",
        spec: { ...agent, command },
        tools: [{ ...tool, spec: { ...spec, image: IMAGE } }],
        secrets: { "hello-token": { token: SECRET } },
        services: [{ program: "greeting-api.ts", input: { port: PORT, ...tls, secret: SECRET } }],
      });
      const { info, cast, said } = await pod.ended();

      assert.deepEqual([info.end?.outcome, info.end?.reason], ["succeeded", "exited"], said);
      assert.equal(info.recording?.verified, true);
      assert.match(said, /Hello, Ada![^]*Hello, Grace!/);
      assert.deepEqual(
        info.calls.map((call) => [call.tool, call.operation, call.outcome]),
        [
          ["hello", "greet", "completed"],
          ["hello", "greet", "completed"],
        ],
      );
      assert.deepEqual(pod.services[0]?.seen, [
        { target: "/v1/greeting?name=Ada", authorized: true },
        { target: "/v1/greeting?name=Grace", authorized: true },
      ]);
      const audit = readFileSync(pod.fileOf("audit.jsonl"), "utf8");
      assert.match(audit, /"credential":"greeting-service"/);
      for (const text of [cast, audit, pod.lastWords()])
        assert(!text.includes(SECRET), "the secret is nowhere but in its Secret and at the API");
      const verdict = await verifyAudit(audit.trim().split("\n"), {
        run: "hello",
        runnerKey: null,
        managerKey: null,
        proofs: [],
        ended: false,
      });
      assert.deepEqual([verdict.ok, verdict.calls, verdict.requests], [true, 2, 2]);
      assert.match(audit, /"type":"receipt"|"signature"|"sig"/);
    });

    test("eight calls at once that take all the memory of their tool are ended one by one, and the tool-runner goes on", async () => {
      const greedy = Tool.parse({
        apiVersion: "agentkube.io/v1alpha1",
        kind: "Tool",
        metadata: { name: "greedy" },
        spec: {
          image: IMAGE,
          operations: [
            { name: "take", description: "Take it.", command: ["/opt/tool/node", "-e", TAKES] },
            { name: "idle", description: "Do nothing.", command: ["/bin/true"] },
          ],
          sandbox: { limits: { memory: "400Mi" }, timeout: "60s" },
        },
      });
      const calls = "for i in 1 2 3 4 5 6 7 8; do greedy take & done; wait";
      await using pod = await PlayedPod.play(of(), {
        name: "greedy",
        script: `${calls}; greedy idle`,
        tools: [greedy],
      });
      const { info, said } = await pod.ended();

      assert.deepEqual([info.end?.outcome, info.end?.reason], ["succeeded", "exited"], said);
      const outcomes = info.calls.map(({ operation, outcome }) => `${operation} ${outcome}`);
      const eight = Array.from({ length: 8 }, () => "take killed_by_limit");
      assert.deepEqual(outcomes, [...eight, "idle completed"]);
    });

    test("the real Claude Code: the model through the gateway, a tool over MCP, its own shell, a structured end", async () => {
      const key = "sk-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH";
      const clock = Tool.parse({
        apiVersion: "agentkube.io/v1alpha1",
        kind: "Tool",
        metadata: { name: "clock" },
        spec: {
          image: "docker.io/library/debian:bookworm-slim",
          operations: [{ name: "run", description: "Run it.", command: ["/bin/echo", TOOL_SAYS] }],
        },
      });
      await using pod = await PlayedPod.play(of(), {
        name: "claude",
        goal: `[[tool mcp__agentkube__clock_run {}]] [[tool Bash {"command":"echo noted > note.txt && cat note.txt","description":"look"}]] [[say Well done.]]`,
        spec: {
          runtime: "ClaudeCode",
          mode: "system",
          image: of().referenceOf("claudecode"),
          agentToken: { secretRef: { name: "agent-token", key: "token" } },
          model: {
            name: "fake-model",
            endpoint: { url: `http://127.0.0.1:${MODEL_PORT}`, private: true },
          },
        },
        tools: [clock],
        secrets: { "agent-token": { token: key } },
        services: [{ program: "model.ts", input: { port: MODEL_PORT, key } }],
      });
      const { info, cast, said } = await pod.ended();

      assert.deepEqual([info.end?.outcome, info.end?.reason], ["succeeded", "completed"], said);
      assert.equal(info.recording?.verified, true);
      assert.deepEqual(
        info.calls.map(({ tool, outcome }) => [tool, outcome]),
        [["clock", "completed"]],
      );
      assert.match(said, /half past tool/);
      assert.match(said, /Well done\./);
      const seen = pod.services[0]?.seen as { key: string }[];
      assert(
        seen.length >= 3 && seen.every((request) => request.key === key),
        "the boundary's key",
      );
      assert(!cast.includes(key), "the model key is not on record");
      assert.equal(readFileSync(join(pod.hostDir("workspace"), "note.txt"), "utf8"), "noted\n");
    });
  });
}

/** An image as a tool's author makes it: a Debian, a Node, the program. */
function buildToolImage(lab: ContainerLab): void {
  const dir = join(lab.dir, "hello-tool");
  mkdirSync(join(dir, "tool"), { recursive: true });
  cpSync(process.execPath, join(dir, "tool/node"));
  cpSync(join(HELLO, "package/greet.mjs"), join(dir, "tool/greet.mjs"));
  const lines = ["FROM docker.io/library/debian:bookworm-slim", "COPY tool/ /opt/tool/"];
  writeFileSync(join(dir, "Containerfile"), `${lines.join("\n")}\n`);
  lab.must("buildah", ["build", "--isolation", "chroot", "--pull=never", "-t", IMAGE, dir]);
}
