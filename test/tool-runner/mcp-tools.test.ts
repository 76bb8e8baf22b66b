// MCP servers as tools: the official servers from npm and a rude one, in the sandbox, with the official client on our side.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { atEnd } from "../helpers/at-end.ts";
import { childrenOf } from "../../src/kit/process-tree.ts";
import type { ToolSpec } from "../../src/protocol/tool-manifest.ts";
import type { RunTool } from "../../src/protocol/run-spec.ts";
import { checkTool } from "../../src/tool-runner/local-call.ts";
import { McpFace } from "../../src/tool-runner/mcp-server.ts";
import { runToolCall } from "../../src/tool-runner/run-tool-call.ts";
import { ToolSpec as ToolSpecSchema } from "../../src/protocol/tool-manifest.ts";
import { repository } from "../helpers/lab.ts";
import { aRunner, never, temporaryDirectory, type TestRunner } from "./support.ts";

const ROOT = realpathSync(repository);
const NODE = join("/opt/tool", relative(ROOT, realpathSync(process.execPath)));
const EVERYTHING = "/opt/tool/node_modules/@modelcontextprotocol/server-everything/dist/index.js";
const FILESYSTEM = "/opt/tool/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js";
const RUDE = "/opt/tool/test/fixtures/rude-mcp-server.mjs";
const SECRET = "s3cret-value-of-the-key-0123456789";

/** A tool whose package is this repository: the pinned Node and the servers are in it. */
function served(
  name: string,
  command: string[],
  more: Partial<ToolSpec> & { tools?: string[]; perCall?: boolean } = {},
): RunTool {
  const { tools, perCall, ...spec } = more;
  return {
    name,
    spec: ToolSpecSchema.parse({
      mcp: {
        command: [NODE, ...command],
        ...(tools === undefined ? {} : { tools }),
        ...(perCall === undefined ? {} : { perCall }),
      },
      ...spec,
    }),
    packageDir: ROOT,
    digest: `sha256:${"0".repeat(64)}`,
  };
}

/** The official client, over HTTP, to the MCP face of a runner. */
async function aClient(context: TestContext, runner: TestRunner): Promise<Client> {
  const face = new McpFace(runner);
  const server = createServer((request, response) => void face.serve(request, response));
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", resolve);
  await promise;
  const { port } = server.address() as AddressInfo;
  const client = new Client({ name: "test", version: "1" });
  await client.connect(new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${port}/mcp`)));
  atEnd(context, async () => {
    await client.close();
    server.closeAllConnections();
    server.close();
  });
  return client;
}

function call(runner: TestRunner, operation: string, signal = never, args: unknown = {}) {
  return runToolCall(runner, { tool: "box", operation, arguments: args, face: "cli" }, signal);
}

/** How many servers run below this process. */
async function servers(): Promise<number> {
  const pending = [process.pid];
  let found = 0;
  for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
    pending.push(...(await childrenOf(pid)));
    const words = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (/^[^\0]*node\0\/opt\/tool\//.test(words)) found += 1;
  }
  return found;
}

suite("an MCP server as a tool", () => {
  test("the official everything server shows the tools of the allow list and answers", async (context) => {
    const tools = ["echo", "get-sum", "get-structured-content", "get-tiny-image", "get-env"];
    const runner = await aRunner(context, [
      served("every", [EVERYTHING], { tools, description: "All of it." }),
    ]);
    const client = await aClient(context, runner);

    const listed = await client.listTools();
    const echo = await client.callTool({ name: "every_echo", arguments: { message: "hi" } });
    const sum = await client.callTool({ name: "every_get-sum", arguments: { a: 2, b: 3 } });
    const weather = await client.callTool({
      name: "every_get-structured-content",
      arguments: { location: "Chicago" },
    });
    const image = await client.callTool({ name: "every_get-tiny-image", arguments: {} });
    const env = await client.callTool({ name: "every_get-env", arguments: {} });
    const wrong = await client.callTool({ name: "every_get-sum", arguments: { a: "2" } });
    const hidden = await client.callTool({ name: "every_simulate-research-query", arguments: {} });

    assert.deepEqual(
      listed.tools.map(({ name }) => name).sort(),
      tools.map((name) => `every_${name}`).sort(),
    );
    assert.match(listed.tools[0]?.description ?? "", /All of it\.$/);
    assert.match(JSON.stringify(echo.content), /Echo: hi/);
    assert.match(JSON.stringify(sum.content), /5/);
    assert.equal(
      typeof (weather.structuredContent as { temperature: number }).temperature,
      "number",
    );
    assert.ok((image.content as { type: string }[]).some(({ type }) => type === "image"));
    assert.doesNotMatch(JSON.stringify(env.content), /wt|root|npm_/);
    assert.match(JSON.stringify(wrong), /"isError":true/);
    assert.match(JSON.stringify(wrong), /Arguments do not fit/);
    assert.match(JSON.stringify(hidden), /No operation of every/);
    assert.equal(await servers(), 1);
  });

  test("progress and cancellation go through, and what it asks of its client is refused", async (context) => {
    const runner = await aRunner(context, [served("every", [EVERYTHING])]);
    const client = await aClient(context, runner);
    const seen: number[] = [];
    const long = "every_trigger-long-running-operation";

    await client.callTool({ name: long, arguments: { duration: 1.2, steps: 4 } }, undefined, {
      onprogress: ({ progress }) => seen.push(progress),
    });
    const cancel = new AbortController();
    const started = performance.now();
    const cancelled = client.callTool(
      { name: long, arguments: { duration: 60, steps: 600 } },
      undefined,
      {
        signal: cancel.signal,
        onprogress: () => cancel.abort(),
      },
    );
    await assert.rejects(cancelled);
    const { tools } = await client.listTools();

    assert.deepEqual(seen.slice(0, 3), [1, 2, 3]);
    assert.ok(performance.now() - started < 5000);
    await runner.waitForRecord(
      (record) => record.type === "call" && record.outcome === "cancelled",
    );
    // Tools that need a client's sampling, roots or elicitation do not even show up: we declare none of them.
    assert.ok(tools.every(({ name }) => !/sampling|elicitation|roots/.test(name)));
  });

  test("the official filesystem server works in the workspace and gets no further", async (context) => {
    const workspace = temporaryDirectory(context);
    writeFileSync(join(workspace, "note.txt"), "a note\n");
    symlinkSync("/etc/passwd", join(workspace, "link"));
    const tool = served("files", [FILESYSTEM, "/workspace"], { sandbox: { workspace: "rw" } });
    const runner = await aRunner(context, [tool], { workspace });
    const client = await aClient(context, runner);
    const ask = (name: string, args: Record<string, unknown>) =>
      client.callTool({ name: `files_${name}`, arguments: args });

    const read = await ask("read_text_file", { path: "/workspace/note.txt" });
    await ask("write_file", { path: "/workspace/new.txt", content: "new\n" });
    const outside = await ask("read_text_file", { path: "/etc/passwd" });
    const link = await ask("read_text_file", { path: "/workspace/link" });

    assert.match(JSON.stringify(read.content), /a note/);
    assert.equal(readFileSync(join(workspace, "new.txt"), "utf8"), "new\n");
    assert.equal(outside.isError, true);
    assert.equal(link.isError, true);
  });

  test("one process serves calls, and another one after a crash", async (context) => {
    const runner = await aRunner(context, [served("box", [RUDE])]);

    const first = await call(runner, "count");
    const second = await call(runner, "count");
    const crash = await call(runner, "crash");
    const exit = await call(runner, "exit");
    const after = await call(runner, "count");

    assert.deepEqual([first.stdout, second.stdout, after.stdout], ["1\n", "2\n", "1\n"]);
    assert.deepEqual([crash.outcome, crash.signal], ["signalled", "SIGKILL"]);
    assert.equal(exit.outcome, "lost");
    assert.match(exit.detail?.cause ?? "", /exit code 3 before it answered.*I give up/s);
  });

  test("with credentials each call has a process of its own, and gives away nothing", async (context) => {
    const credentials = [{ name: "key", secretRef: { name: "demo", key: "token" }, env: "KEY" }];
    const tool = served("box", [RUDE], { credentials });
    const runner = await aRunner(context, [tool], { secrets: { "demo/token": SECRET } });

    const counts = [await call(runner, "count"), await call(runner, "count")];
    const told = await call(runner, "tell");

    assert.deepEqual(
      counts.map(({ stdout }) => stdout),
      ["1\n", "1\n"],
    );
    assert.equal(await servers(), 0);
    assert.equal(JSON.stringify(told).includes(SECRET.slice(4)), false);
    assert.match(told.stdout, /^\*+\n$/);
    assert.match(told.stderr, /^key \*+\n$/);
    assert.match(
      checkTool({
        ...tool,
        spec: { ...tool.spec, mcp: { command: [NODE, RUDE], perCall: false } },
      })[0]?.problem ?? "",
      /one process a call/,
    );
  });

  test("what is not asked for is refused, dropped or cut", async (context) => {
    const runner = await aRunner(context, [served("box", [RUDE])]);

    const ask = await call(runner, "ask");
    const large = await call(runner, "large");
    const nonsense = await call(runner, "nonsense");
    const wrong = await call(runner, "wrong");
    const operations = await runner.servers.operationsOf(runner.tools.get("box")!, never);

    assert.equal(ask.stdout, "refused: -32601\n");
    assert.ok(large.truncated && large.stdout.length < 1_100_000);
    assert.match(large.stdout, /\[truncated after 1048576 bytes\]\n$/);
    assert.match(nonsense.stdout, /no valid MCP message/);
    assert.equal(nonsense.exitCode, 1);
    assert.match(wrong.stdout, /does not fit its outputSchema/);
    assert.deepEqual(
      ["bad name/../x", "remote", "heavy"].map((name) => operations.has(name)),
      [false, false, false],
    );
  });

  for (const perCall of [false, true]) {
    test(`what it answers wrongly is an error of a call that has run${perCall ? ", also in a process of its own" : ""}`, async (context) => {
      const runner = await aRunner(context, [served("box", [RUDE], { perCall })]);

      for (const [name, words] of [
        ["refuse", /the database is locked/],
        ["untyped", /no valid MCP message/],
        ["deep", /no valid MCP message/],
      ] as const) {
        const { outcome, exitCode, stdout } = await call(runner, name);

        assert.deepEqual({ name, outcome, exitCode }, { name, outcome: "completed", exitCode: 1 });
        assert.match(stdout, words);
      }
      assert.equal((await call(runner, "exit")).outcome, "lost");
    });
  }

  for (const [name, outcome] of [
    ["hang", "timed_out"],
    ["spin", "timed_out"],
    ["babble", "killed_by_limit"],
    ["flatter", "killed_by_limit"],
    ["memory", "killed_by_limit"],
  ] as const) {
    test(`a server that does nothing but ${name} ends as ${outcome}, and the next call is served`, async (context) => {
      const timeout = outcome === "timed_out" ? "3s" : "30s";
      const sandbox = { timeout, limits: { memory: "256Mi" } };
      const runner = await aRunner(context, [served("box", [RUDE], { sandbox })]);
      await call(runner, "count");

      const ended = await call(runner, name);
      const after = await call(runner, "count");

      assert.equal(ended.outcome, outcome, JSON.stringify(ended.detail));
      assert.equal(after.outcome, "completed", JSON.stringify(after.detail));
    });
  }

  test("a call that is cancelled is over at once; a server stuck in it is killed within a second", async (context) => {
    const runner = await aRunner(context, [served("box", [RUDE])]);
    await call(runner, "count");
    const cancel = new AbortController();
    const spinning = Promise.withResolvers<void>();
    const running = runToolCall(
      runner,
      {
        tool: "box",
        operation: "spin",
        arguments: {},
        face: "cli",
        onProgress: () => spinning.resolve(),
      },
      cancel.signal,
    );
    await spinning.promise;
    const started = performance.now();
    cancel.abort();

    const { outcome } = await running;

    assert.equal(outcome, "cancelled");
    assert.ok(performance.now() - started < 2000);
    assert.equal(await servers(), 0);
    assert.equal((await call(runner, "count")).stdout, "1\n");
  });

  test("nothing of it is left when the run ends", async (context) => {
    const runner = await aRunner(context, [served("box", [RUDE])]);
    await call(runner, "count");
    assert.equal(await servers(), 1);

    runner.end.abort();
    await runner.servers[Symbol.asyncDispose]();

    assert.equal(await servers(), 0);
    assert.equal((await call(runner, "count")).outcome, "refused");
  });

  test("one that cannot start, or is no MCP server, is a clear end of the call and shows no tools", async (context) => {
    const dir = temporaryDirectory(context);
    mkdirSync(join(dir, "bin"));
    writeFileSync(join(dir, "bin/quiet"), "#!/bin/sh\necho 'no config' >&2\nexit 4\n", {
      mode: 0o755,
    });
    const tool: RunTool = {
      ...served("box", []),
      spec: ToolSpecSchema.parse({ mcp: { command: ["./bin/quiet"] } }),
      packageDir: dir,
    };
    const runner = await aRunner(context, [tool]);

    const ended = await call(runner, "anything");
    const client = await aClient(context, runner);

    assert.equal(ended.outcome, "start_failed");
    assert.match(ended.detail?.cause ?? "", /exit code 4 before it answered.*no config/s);
    assert.deepEqual((await client.listTools()).tools, []);
    assert.equal(await servers(), 0);
    assert.ok(existsSync(join(dir, "bin/quiet")));
  });
});
