import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { createConnection, createServer, type AddressInfo, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { WebSocketServer } from "ws";
import { until } from "../helpers/until.ts";
import { createSigningKey } from "../../src/kit/signing.ts";
import { chainLine, firstPrev, parseChainLine } from "../../src/protocol/audit-chain.ts";
import { AuditMessage, type AuditRecord } from "../../src/protocol/audit.ts";
import type { RunnerReport } from "../../src/protocol/metrics.ts";
import type { RunSpec, RunnerBoot } from "../../src/protocol/run-spec.ts";
import { aTool } from "./support.ts";

const TOKEN = "agent-token-".padEnd(43, "x");
const SHIM = fileURLToPath(new URL("../../src/tool-runner/shim.mjs", import.meta.url));
const MAIN = fileURLToPath(new URL("../../src/tool-runner/main.ts", import.meta.url));

const text = { type: "string", description: "what to say" };
const tools = [
  {
    ...aTool({
      description: "Says things.",
      operations: [
        {
          name: "say",
          description: "Says a text.",
          command: ["/bin/echo", "{{text}}"],
          inputSchema: {
            type: "object",
            properties: { text },
            required: ["text"],
            additionalProperties: false,
          },
        },
        {
          name: "json",
          command: ["/bin/cat"],
          stdin: "json",
          inputSchema: {
            type: "object",
            properties: {
              n: { type: "integer" },
              flag: { type: "boolean" },
              tags: { type: "array", items: { type: "string" } },
            },
            additionalProperties: false,
          },
          outputSchema: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] },
        },
        { name: "fail", command: ["/bin/sh", "-c", "echo why >&2; exit 9"] },
        { name: "die", command: ["/bin/sh", "-c", "kill -TERM $$"] },
        { name: "wait_long", command: ["/bin/sleep", "765432"] },
        {
          name: "draw",
          command: [
            "/bin/sh",
            "-c",
            "mkdir d; echo text > d/a.txt; printf '\\211PNG' > d/b.png; mkdir d/c",
          ],
          files: ["d/*"],
        },
      ],
    }),
    name: "talker",
  },
];

/** What tool-runners told of themselves. */
const reports: RunnerReport[] = [];

/** A manager that has everything at once, so that no end waits for it. */
const manager = new WebSocketServer({ port: 0, host: "127.0.0.1" });
manager.on("connection", (socket) => {
  socket.on("message", (data: Buffer) => {
    const message = AuditMessage.parse(JSON.parse(data.toString("utf8")));
    if (message.kind === "report") return void reports.push(message.report);
    const last = message.kind === "audit" ? (message.more?.at(-1) ?? message) : null;
    const { seq, hash } =
      last === null ? { seq: 0, hash: firstPrev("serve-test") } : chainLine(last.seq, last.record);
    socket.send(JSON.stringify({ kind: "ack", seq, hash, countersignature: null }));
  });
});
after(() => manager.close());
await once(manager, "listening");

/** The same over all lives of a run's tool-runner. */
const SIGNING = createSigningKey();

interface Started {
  child: ChildProcess;
  spec: RunSpec;
  gateway: Server;
  url: string;
  directory: string;
}

async function startRunner(
  directory: string,
  change: (spec: RunSpec) => void = () => {},
): Promise<Started> {
  const spec: RunSpec = {
    protocol: 1,
    run: "serve-test",
    agentName: "serve",
    epoch: 0,
    manager: { url: `http://127.0.0.1:${(manager.address() as AddressInfo).port}` },
    sockets: {
      recorder: join(directory, "rec.sock"),
      markers: join(directory, "mark.sock"),
      runner: join(directory, "run.sock"),
    },
    runtimeDir: directory,
    spoolDir: join(directory, "spool"),
    agent: {
      runtime: "Custom",
      mode: "system",
      goal: null,
      model: undefined,
      argv: ["/bin/true"],
      timeoutMs: null,
      recordInput: false,
      recordingEnabled: true,
    },
    terminal: { cols: 80, rows: 24 },
    zone: {
      kind: "sandbox",
      network: "gateway",
      workspace: join(directory, "workspace"),
      binds: [],
      memoryBytes: 1e9,
      processes: 64,
      scratchBytes: 1e8,
    },
    tools,
    modelEndpoint: null,
    shellPath: "/usr/bin:/bin",
  };
  change(spec);
  mkdirSync(spec.zone.workspace, { recursive: true });
  const specPath = join(directory, "spec.json");
  writeFileSync(specPath, JSON.stringify(spec));
  const boot: RunnerBoot = {
    runnerToken: "r".repeat(43),
    agentToken: TOKEN,
    secrets: {},
    modelKey: null,
    auditKey: Buffer.alloc(32, 1).toString("base64"),
    signingSeed: SIGNING.seed(),
  };
  const script = `process.exit(await (await import(${JSON.stringify(MAIN)})).main())`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    env: { PATH: process.env["PATH"], AGENTKUBE_RUN_SPEC: specPath },
    stdio: ["pipe", "pipe", process.env["SHOW_LOG"] === undefined ? "ignore" : "inherit"],
  });
  child.stdin?.write(`${JSON.stringify(boot)}\n`);
  const [line] = (await once(
    createInterface({ input: child.stdout as NodeJS.ReadableStream }),
    "line",
  )) as [string];
  const status = JSON.parse(line) as { kind: string; message?: string };
  if (status.kind !== "ready") throw new Error(`${status.kind}: ${status.message}`);
  // What the agentlet does between zone A and the socket.
  const gateway = createServer((near) => {
    const far = createConnection(spec.sockets.runner);
    near.on("error", () => far.destroy()).on("close", () => far.destroy());
    far.on("error", () => near.destroy()).on("close", () => near.destroy());
    near.pipe(far).pipe(near);
  });
  gateway.listen(0, "127.0.0.1");
  await once(gateway, "listening");
  return {
    child,
    spec,
    gateway,
    directory,
    url: `http://127.0.0.1:${(gateway.address() as AddressInfo).port}`,
  };
}

async function stopRunner({ child, gateway, directory }: Started): Promise<number | null> {
  gateway.close();
  const exited = child.exitCode === null && child.signalCode === null ? once(child, "exit") : null;
  child.stdin?.end();
  await exited;
  rmSync(directory, { recursive: true, force: true });
  return child.exitCode;
}

function newDirectory(): string {
  return mkdtempSync(join(tmpdir(), "serve-test-"));
}

async function connect(url: string): Promise<Client> {
  const client = new Client({ name: "test", version: "0" });
  const transport = new StreamableHTTPClientTransport(new URL("/mcp", url), {
    requestInit: { headers: { authorization: `Bearer ${TOKEN}` } },
  });
  await client.connect(transport);
  return client;
}

function sleeping(seconds: string): boolean {
  return readdirSync("/proc").some((name) => {
    try {
      return (
        /^\d+$/.test(name) &&
        readFileSync(`/proc/${name}/cmdline`, "latin1") === `/bin/sleep\0${seconds}\0`
      );
    } catch {
      return false;
    }
  });
}

function auditOf(directory: string): AuditRecord[] {
  return readFileSync(join(directory, "audit.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => parseChainLine(line).record);
}

/** One request with any headers, to see the status. */
async function statusOf(
  url: string,
  headers: Record<string, string>,
  path = "/v1/tools",
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  request(new URL(path, url), { headers }, (response) => {
    response.resume();
    resolve(response.statusCode ?? 0);
  })
    .on("error", reject)
    .end();
  return await promise;
}

interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

async function shim(
  started: Started,
  words: string[],
  during: (child: ChildProcess) => void = () => {},
): Promise<Ran> {
  const path = join(started.directory, "talker");
  rmSync(path, { force: true });
  symlinkSync(SHIM, path);
  const child = spawn(process.execPath, [SHIM, path, ...words], {
    env: { AGENTKUBE_GATEWAY: started.url, AGENTKUBE_AGENT_TOKEN: TOKEN },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ran: Ran = { code: null, stdout: "", stderr: "" };
  child.stdout?.on("data", (chunk: Buffer) => (ran.stdout += chunk.toString("utf8")));
  child.stderr?.on("data", (chunk: Buffer) => (ran.stderr += chunk.toString("utf8")));
  during(child);
  [ran.code] = (await once(child, "close")) as [number | null];
  return ran;
}

suite("what a tool-runner counts", () => {
  test("is told to the manager: how calls ended, and what the pool did and costs", async () => {
    reports.length = 0;
    const started = await startRunner(newDirectory());
    const post = async (operation: string): Promise<void> => {
      const answer = await fetch(new URL(`/v1/tools/talker/${operation}`, started.url), {
        method: "POST",
        headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" },
        body: JSON.stringify({ arguments: {} }),
      });
      assert.equal(answer.status, 200, await answer.text());
    };
    const first = await until("the first report", () => reports.at(0));
    await post("fail");
    await post("fail");
    await post("die");
    await post("no_such");
    const resting = await until("a pool that rests", () =>
      reports.find(({ pool }) => pool.waiting > 0),
    );
    await stopRunner(started);

    assert.deepEqual(first.calls, { running: 0, waiting: 0, outcomes: {}, durationMs: 0 });
    assert.ok(resting.pool.waitingBytes > 4096, `${resting.pool.waitingBytes} bytes`);
    assert.ok(resting.pool.waitingBytes < resting.pool.waiting * 1024 * 1024);
    const last = reports.at(-1)!;
    assert.deepEqual(last.calls.outcomes, { completed: 2, signalled: 1, refused: 1 });
    assert.deepEqual([last.pool.size, last.pool.warm + last.pool.cold], [2, 3]);
    assert.ok(last.pool.prepared >= 2);
  });
});

suite("the tool-runner's faces", () => {
  let started: Started;
  before(async () => {
    started = await startRunner(newDirectory());
  });
  after(async () => {
    assert.equal(await stopRunner(started), 0);
  });

  test("is a socket for its owner only", () => {
    assert.equal(statSync(started.spec.sockets.runner).mode & 0o777, 0o600);
  });

  test("answers nobody without the token, and no page of a browser", async () => {
    const bearer = { authorization: `Bearer ${TOKEN}` };

    assert.equal(await statusOf(started.url, {}), 401);
    assert.equal(await statusOf(started.url, { authorization: `Bearer ${TOKEN}x` }), 401);
    assert.equal(await statusOf(started.url, { "x-api-key": TOKEN }), 401);
    assert.equal(await statusOf(started.url, {}, "/mcp"), 401);
    assert.equal(await statusOf(started.url, {}, "/model/anthropic/v1/models"), 401);
    assert.equal(await statusOf(started.url, { ...bearer, host: "evil.test" }), 403);
    assert.equal(await statusOf(started.url, { ...bearer, origin: "https://evil.test" }), 403);
    assert.equal(await statusOf(started.url, bearer, "/v1/secrets"), 404);
    assert.equal(await statusOf(started.url, bearer), 200);
  });

  test("has no proxy for a run whose network is the gateway alone", async () => {
    const proxied = request({
      host: "127.0.0.1",
      port: new URL(started.url).port,
      path: "http://example.test/",
      headers: { host: "example.test" },
    });
    proxied.end();
    const [response] = (await once(proxied, "response")) as [
      { statusCode: number; resume(): void },
    ];
    response.resume();
    assert.equal(response.statusCode, 403);
    const connecting = request({
      host: "127.0.0.1",
      port: new URL(started.url).port,
      method: "CONNECT",
      path: "example.test:443",
    });
    connecting.end();
    const [refusal] = (await once(connecting, "connect")) as [{ statusCode: number }];
    assert.equal(refusal.statusCode, 403);
  });

  test("speaks MCP: lists tools, runs them, and says what went wrong", async () => {
    const client = await connect(started.url);

    const listed = await client.listTools();
    const said = await client.callTool({ name: "talker_say", arguments: { text: "grüß" } });
    const structured = await client.callTool({ name: "talker_json", arguments: { n: 3 } });
    const failed = await client.callTool({ name: "talker_fail", arguments: {} });
    const wrong = await client.callTool({ name: "talker_say", arguments: { txt: "x" } });
    const unknown = await client.callTool({ name: "nothing_here", arguments: {} });
    await client.close();

    assert.deepEqual(
      listed.tools.map(({ name }) => name),
      ["talker_say", "talker_json", "talker_fail", "talker_die", "talker_wait_long", "talker_draw"],
    );
    assert.match(listed.tools[0]?.description ?? "", /Says a text/);
    assert.deepEqual(said.content, [{ type: "text", text: "grüß\n" }]);
    assert.deepEqual(structured.structuredContent, { n: 3 });
    assert.equal(failed.isError, true);
    assert.match(JSON.stringify(failed.content), /exit code 9.*why/);
    assert.equal(wrong.isError, true);
    assert.match(JSON.stringify(wrong.content), /known arguments: text/);
    assert.match(JSON.stringify(unknown.content), /No tool is named/);
  });

  test("gives files: to an MCP client as resources, and to the shim, which writes them where it is told", async () => {
    const client = await connect(started.url);
    const { content } = (await client.callTool({ name: "talker_draw", arguments: {} })) as {
      content: ({ type: "text"; text: string } | { type: "resource"; resource: object })[];
    };
    await client.close();
    const kept = join(started.directory, "kept");
    const listed = await shim(started, ["draw"]);
    const written = await shim(started, ["draw", "--files-to", kept]);
    const again = await shim(started, ["draw", `--files-to=${kept}`]);
    const help = await shim(started, ["draw", "--help"]);

    const [text, ...resources] = content;
    assert.ok(text?.type === "text");
    assert.match(text.text, /\[files\]\n"d\/a.txt" \(text\/plain, 5 bytes\)\n"d\/b.png"/);
    assert.match(text.text, /"d\/c" left out: no regular file/);
    assert.deepEqual(
      resources.map((block) => {
        assert.ok(block.type === "resource");
        const { uri, ...rest } = block.resource as { uri: string };
        return { path: uri.replace(/^agentkube:\/\/call\/[0-9a-f]{32}\//, ""), ...rest };
      }),
      [
        { path: "d/a.txt", mimeType: "text/plain", text: "text\n" },
        { path: "d/b.png", mimeType: "image/png", blob: "iVBORw==" },
      ],
    );
    assert.deepEqual([listed.code, listed.stdout], [0, ""]);
    assert.match(listed.stderr, /^file: "d\/a.txt" \(text\/plain, 5 bytes\)$/m);
    assert.match(listed.stderr, /^file left out: "d\/c" \(not a file\)$/m);
    assert.equal(written.code, 0);
    assert.equal(readFileSync(join(kept, "d/b.png"), "latin1"), "\x89PNG");
    assert.equal(again.code, 125);
    assert.match(again.stderr, /EEXIST/);
    assert.match(help.stdout, /Files it gives: d\/\*\n  --files-to <dir>/);
  });

  test("kills the call that an MCP client cancels", async () => {
    const client = await connect(started.url);
    const cancel = new AbortController();

    const call = client.callTool({ name: "talker_wait_long", arguments: {} }, undefined, {
      signal: cancel.signal,
    });
    call.catch(() => {});
    await until("the tool sleeps", () => sleeping("765432"));
    cancel.abort();
    await assert.rejects(call);

    await until("the tool is gone", () => !sleeping("765432"));
    await client.close();
    const record = await until("the record of the call", () =>
      auditOf(started.directory).findLast(
        (entry) => entry.type === "call" && entry.operation === "wait_long",
      ),
    );
    assert.equal(record.type === "call" && record.outcome, "cancelled");
  });

  test("does not lose a key that reaches prototypes: it refuses it", async () => {
    const body =
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"talker_say","arguments":{"text":"x","__proto__":{"a":1}}}}';
    const headers = {
      authorization: `Bearer ${TOKEN}`,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
    };

    const viaMcp = await fetch(new URL("/mcp", started.url), { method: "POST", body, headers });
    const viaShim = await fetch(new URL("/v1/tools/talker/say", started.url), {
      method: "POST",
      body: '{"arguments":{"text":"x","__proto__":{"a":1}}}',
      headers,
    });

    assert.deepEqual([viaMcp.status, viaShim.status], [400, 400]);
    assert.match(await viaShim.text(), /__proto__/);
  });

  for (const [name, body, type, status] of [
    ["no JSON", "{", "application/json", 400],
    ["not an envelope", '{"args":{}}', "application/json", 400],
    ["another type", "{}", "text/plain", 400],
    [
      "too much",
      `{"arguments":{"text":"${"x".repeat(5 * 1024 * 1024)}"}}`,
      "application/json",
      413,
    ],
    ["bytes that are not UTF-8", Buffer.from([0x22, 0xff, 0x22]), "application/json", 400],
  ] as const) {
    test(`refuses a body that is ${name}`, async () => {
      const response = await fetch(new URL("/v1/tools/talker/say", started.url), {
        method: "POST",
        body,
        headers: { authorization: `Bearer ${TOKEN}`, "content-type": type },
      });

      assert.equal(response.status, status);
      assert.ok("error" in ((await response.json()) as object));
    });
  }

  test("has a shim that calls, converts by schema, helps and refuses", async () => {
    const said = await shim(started, ["say", "--text", "--dashes are refused"]);
    const equal = await shim(started, ["say", "--text=hello world"]);
    const typed = await shim(started, ["json", "--n", "5", "--flag", "--tags", "a", "--tags=b"]);
    const whole = await shim(started, ["json", "--json", '{"n":1,"flag":false}']);
    const help = await shim(started, ["--help"]);
    const operationHelp = await shim(started, ["say", "--help"]);

    assert.equal(said.code, 125);
    assert.match(said.stderr, /may not begin with "-"/);
    assert.deepEqual([equal.code, equal.stdout], [0, "hello world\n"]);
    assert.deepEqual(JSON.parse(typed.stdout), { n: 5, flag: true, tags: ["a", "b"] });
    assert.deepEqual(JSON.parse(whole.stdout), { n: 1, flag: false });
    assert.match(help.stdout, /say\s+Says a text\./);
    assert.match(operationHelp.stdout, /--text <string>\s+what to say \(required\)/);
  });

  test("has a shim that takes a value for a value, whatever it looks like", async () => {
    const words = ["-h", "--help", "--files-to", "--files-to=x"];
    const ran = await shim(started, ["json", "--n", "1", ...words.flatMap((w) => ["--tags", w])]);
    const help = await shim(started, ["json", "--tags", "-h", "-h"]);

    assert.deepEqual(JSON.parse(ran.stdout), { n: 1, tags: words });
    assert.match(help.stdout, /Usage: talker json/);
  });

  test("has a shim with the tool's own exit code", async () => {
    const failed = await shim(started, ["fail"]);
    const died = await shim(started, ["die"]);
    const unknown = await shim(started, ["nope"]);
    const option = await shim(started, ["say", "--nope", "1"]);

    assert.deepEqual([failed.code, failed.stderr], [9, "why\n"]);
    assert.equal(died.code, 143);
    assert.equal(unknown.code, 125);
    assert.match(unknown.stderr, /it has: say, json/);
    assert.equal(option.code, 125);
  });

  test("kills the call whose shim is interrupted", async () => {
    const ran = await shim(started, ["wait_long"], (child) => {
      void until("the tool sleeps", () => sleeping("765432")).then(() => child.kill("SIGINT"));
    });

    assert.equal(ran.code, null);
    await until("the tool is gone", () => !sleeping("765432"));
  });
});

suite("the tool-runner's life", () => {
  test("ends its calls and writes them down when the supervisor goes", async () => {
    const directory = newDirectory();
    const started = await startRunner(directory);
    const call = shim(started, ["wait_long"]);
    await until("the tool sleeps", () => sleeping("765432"));

    started.child.stdin?.end();
    await once(started.child, "exit");

    assert.equal((await call).code, 130);
    assert.equal(sleeping("765432"), false);
    const last = auditOf(directory).at(-1);
    assert.equal(last?.type === "call" && last.outcome, "cancelled");
    await stopRunner(started);
  });

  test("closes as lost what a kill -9 interrupted, and serves on", async () => {
    const directory = newDirectory();
    const first = await startRunner(directory);
    const call = shim(first, ["wait_long"]);
    await until("the tool sleeps", () => sleeping("765432"));
    first.child.kill("SIGKILL");
    await once(first.child, "exit");
    await until("the tool is gone", () => !sleeping("765432"));
    assert.equal((await call).code, 125);
    first.gateway.close();

    const second = await startRunner(directory);

    assert.equal((await shim(second, ["say", "--text", "again"])).stdout, "again\n");
    assert.deepEqual(
      auditOf(directory).map((entry) => (entry.type === "call" ? entry.outcome : entry.type)),
      ["epoch_started", "call_started", "epoch_started", "lost", "call_started", "completed"],
    );
    await stopRunner(second);
  });

  test("does not start with a tool that is not good, and says which", async () => {
    const broken = {
      ...aTool({ operations: [{ name: "go", command: ["/usr/bin/true"] }] }),
      name: "broken",
    };
    broken.spec.operations = [{ name: "go", command: ["/usr/bin/none"] }];
    const directory = newDirectory();

    await assert.rejects(
      startRunner(directory, (spec) => spec.tools.push(broken)),
      /fault: Tool "broken", spec.operations\[0\].command\[0\]: executable "\/usr\/bin\/none" does not exist/,
    );
    rmSync(directory, { recursive: true, force: true });
    tools.splice(1);
  });
});
