// A CLI is started twice in one zone, the second time with the session of the first: what its driver calls `resume`.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { suite, test } from "node:test";
import { openGatewayRelay } from "../../src/agentlet/gateway-relay.ts";
import { driverOf } from "../../src/agentlet/drivers/registry.ts";
import { PtySession } from "../../src/agentlet/pty-session.ts";
import { openReportSocket } from "../../src/agentlet/report-socket.ts";
import { GATEWAY_PORT, zoneEnv, zonePlan } from "../../src/agentlet/zone.ts";
import { resolveAgentProgram, SYSTEM_PATH } from "../../src/cli/agent-program.ts";
import { runtimePrograms } from "../../src/cli/runtimes.ts";
import { openLog } from "../../src/kit/log.ts";
import { openSandbox } from "../../src/kit/sandbox.ts";
import type { Runtime } from "../../src/protocol/agent-manifest.ts";
import { aRunSpec } from "../agentlet/run-spec.ts";
import { openFakeModel } from "../helpers/fake-model.ts";
import { MODEL_KEY, skipWithout } from "./session.ts";

const TOKEN = "agent-token-".padEnd(43, "x");

/** Stands for the tool-runner: the model only, and no tools. */
async function openRunner(socket: string, modelUrl: string): Promise<AsyncDisposable> {
  const server = createServer((request, response) => {
    const inner = /^\/model\/\w+(\/.*)$/.exec(request.url ?? "")?.[1];
    if (inner === undefined) return void response.writeHead(404).end();
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const answer = await fetch(`${modelUrl}${inner}`, {
        method: request.method ?? "POST",
        headers: { authorization: `Bearer ${MODEL_KEY}`, "content-type": "application/json" },
        ...(chunks.length > 0 ? { body: Buffer.concat(chunks) } : {}),
      });
      const type = answer.headers.get("content-type") ?? "application/json";
      response.writeHead(answer.status, { "content-type": type }).end(await answer.text());
    })().catch(() => response.destroy());
  });
  server.listen(socket);
  await once(server, "listening");
  return {
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** Runs the CLI one-shot twice in one zone; the bodies that the model saw of the second run. */
async function askTwice(runtime: Exclude<Runtime, "Custom">): Promise<string[]> {
  await using stack = new AsyncDisposableStack();
  const directory = mkdtempSync(path.join(tmpdir(), "akres-"));
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const workspace = path.join(directory, "workspace");
  mkdirSync(workspace);
  const model = stack.use(await openFakeModel(MODEL_KEY));
  stack.use(await openRunner(path.join(directory, "run.sock"), model.url));
  const driver = driverOf(runtime);
  let session: string | null = runtime === "Goose" ? "agentkube" : null;
  const report = stack.use(
    await openReportSocket(
      path.join(directory, "report.sock"),
      (said) => (session = driver.sessionOf?.(said) ?? session),
      openLog("test"),
    ),
  );
  const agent = { metadata: { name: "it" }, spec: { runtime } } as Parameters<
    typeof resolveAgentProgram
  >[0];
  const program = resolveAgentProgram(agent, workspace, process.env);
  const specOf = (goal: string) =>
    aRunSpec({
      directory,
      agent: {
        runtime,
        goal,
        mode: "system",
        model: { name: "fake-model" },
        argv: [program.program, ...program.args],
      },
      zone: {
        workspace,
        binds: [...program.binds],
        scratchBytes: 1024 ** 3,
        processes: 512,
      },
    });
  const first = specOf("[[say I keep the word juniper.]]");
  const gateway = { url: `http://127.0.0.1:${GATEWAY_PORT}`, agentToken: TOKEN };
  const { files } = driver.prepare({ spec: first, gateway, resume: null });
  const stdio = { stdin: "ignore", stdout: "ignore", stderr: "ignore" } as const;
  const parts = { files, nodePath: process.execPath, reportSocket: report.path };
  const sandbox = stack.use(
    await openSandbox(zonePlan(first, parts), stdio, AbortSignal.timeout(30_000)),
  );
  const listener = sandbox.listeners.get(GATEWAY_PORT);
  assert.ok(listener !== undefined);
  sandbox.listeners.delete(GATEWAY_PORT);
  stack.use(await openGatewayRelay(listener, path.join(directory, "run.sock")));

  const runOneShot = async (spec: typeof first, resume: string | null): Promise<void> => {
    const launch = driver.prepare({ spec, gateway, resume });
    // The goal's file of the second run is written by its own shell: files come with the zone.
    const goal = spec.agent.goal ?? "";
    const script = 'printf %s "$0" > /home/agent/.agentkube/goal; exec "$@"';
    const env = {
      ...zoneEnv(spec, gateway, launch.env),
      PATH: [...program.path, SYSTEM_PATH].join(":"),
    };
    const started = await sandbox.start({
      argv: ["/bin/sh", "-c", script, goal, ...launch.argv],
      cwd: workspace,
      env,
      cols: 120,
      rows: 40,
    });
    const output: Buffer[] = [];
    const pty = new PtySession({
      program: started,
      size: { cols: 120, rows: 40 },
      onOutput: (bytes) => output.push(Buffer.from(bytes)),
      onRefusedInput: () => undefined,
    });
    const exit = await started.exited;
    assert.deepEqual(exit, { kind: "exited", code: 0 }, Buffer.concat(output).toString());
    await Promise.race([pty.ended, new Promise((resolve) => setTimeout(resolve, 2000))]);
  };

  await runOneShot(first, null);
  assert.ok(session !== null, "the CLI never named its session");
  const seen = model.requests.length;
  await runOneShot(specOf("[[say Which word was it?]]"), session);
  return model.requests.slice(seen).map(({ body }) => body);
}

suite("a resumed session remembers", () => {
  for (const runtime of ["ClaudeCode", "Codex", "OpenCode", "Goose"] as const)
    test(runtime, { skip: skipWithout(runtimePrograms[runtime].program) }, async () => {
      const bodies = await askTwice(runtime);

      assert.ok(
        bodies.some((body) => body.includes("juniper") && body.includes("Which word was it?")),
      );
    });
});
