// What an agent may send: cases 38 to 44 of the attack list, over the real door of the tool-runner (a unix socket, HTTP).
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { request, type IncomingMessage, type OutgoingHttpHeaders } from "node:http";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { suite, test, type TestContext } from "node:test";
import { atEnd } from "../helpers/at-end.ts";
import { silentLog } from "../../src/kit/log.ts";
import type { Operation } from "../../src/protocol/tool-manifest.ts";
import { AgentHttp } from "../../src/tool-runner/agent-http.ts";
import { AgentToken } from "../../src/tool-runner/agent-token.ts";
import { readJsonBody } from "../../src/tool-runner/json-body.ts";
import { checkTool } from "../../src/tool-runner/local-call.ts";
import { McpFace } from "../../src/tool-runner/mcp-server.ts";
import { runToolCall } from "../../src/tool-runner/run-tool-call.ts";
import { serveToolFace } from "../../src/tool-runner/tool-face.ts";
import { aRunner, aTool, temporaryDirectory, type TestRunner } from "../tool-runner/support.ts";

const TOKEN = "the-token-of-the-agent-".padEnd(43, "x");

const text = { type: "string", maxLength: 100_000 };
/** Each definition twice what the next one is: a small schema, and more checks than there is time for. */
const doubling = Object.fromEntries(
  Array.from({ length: 48 }, (_, level) => {
    const next = { $ref: `#/$defs/level${level + 1}` };
    return [`level${level}`, { allOf: [next, next] }];
  }),
);

const operations: Operation[] = [
  {
    name: "show",
    command: ["/usr/bin/printf", "%s|", "--label={{label}}", "{{word}}", "x{{glued}}"],
    inputSchema: {
      type: "object",
      properties: { label: text, word: text, glued: text },
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
        n: { type: "number" },
        role: { type: "string", default: "admin" },
        slow: { type: "string", pattern: "^(a+)+$" },
        pairs: { type: "array", uniqueItems: true },
        doubled: { $ref: "#/$defs/level0" },
        deep: {},
      },
      $defs: { ...doubling, level48: { type: "object" } },
      additionalProperties: false,
    },
  },
  { name: "wait", command: ["/bin/sleep", "600"] },
];

interface Answer {
  status: number;
  body: string;
}

interface Door {
  runner: TestRunner;
  readonly post: (
    path: string,
    body: string | Buffer,
    headers?: OutgoingHttpHeaders,
  ) => Promise<Answer>;
  readonly call: (operation: string, args: string) => Promise<Answer>;
}

async function aDoor(context: TestContext): Promise<Door> {
  const tool = aTool({ operations, sandbox: { limits: { calls: 2 } } });
  const runner = await aRunner(context, [tool]);
  const socketPath = join(temporaryDirectory(context), "run.sock");
  const mcp = new McpFace(runner);
  const http = await AgentHttp.listen({
    socketPath,
    token: new AgentToken(TOKEN),
    log: silentLog,
    routes: {
      mcp: (incoming, response) => mcp.serve(incoming, response),
      tools: (incoming, response) => serveToolFace(runner, incoming, response),
      model: null,
      proxy: null,
    },
  });
  atEnd(context, () => http[Symbol.asyncDispose]());
  const post: Door["post"] = (path, body, headers = {}) => {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const outgoing = request(
      {
        socketPath,
        path,
        method: "POST",
        headers: {
          host: "127.0.0.1",
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          authorization: `Bearer ${TOKEN}`,
          ...headers,
        },
      },
      (response) => {
        let said = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => (said += chunk));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body: said }));
      },
    );
    outgoing.on("error", reject);
    outgoing.end(body);
    return promise;
  };
  return {
    runner,
    post,
    call: (operation, args) => post(`/v1/tools/box/${operation}`, `{"arguments":${args}}`),
  };
}

function mcpCall(name: string, args: string): string {
  return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":${JSON.stringify(name)},"arguments":${args}}}`;
}

suite("admission of what an agent sends", () => {
  test("38: a value stays inside its word, whatever it holds, and is no option", async (context) => {
    const { call } = await aDoor(context);
    for (const value of [
      ";id",
      "$(id)",
      "`id`",
      "@/etc/passwd",
      "| sh",
      "a\nb",
      "'\"",
      "*",
      "{{word}}",
    ]) {
      const { body } = await call(
        "show",
        JSON.stringify({ label: value, word: value, glued: value }),
      );

      assert.equal(
        (JSON.parse(body) as { stdout: string }).stdout,
        `--label=${value}|${value}|x${value}|`,
      );
    }
    for (const value of ["--upload-pack=sh", "-oProxyCommand=x", "-", "--"]) {
      const { body } = await call("show", JSON.stringify({ word: value }));

      assert.match(body, /"outcome":"refused"/, value);
      assert.match(body, /may not begin with/);
    }
    const long = "x".repeat(90_000);
    const tooLong = await call("show", JSON.stringify({ label: long, word: long, glued: long }));
    assert.match(tooLong.body, /"outcome":"refused"/);
    const glued = await call("show", JSON.stringify({ label: "-x", glued: "-x" }));
    assert.match(glued.body, /"stdout":"--label=-x\|x-x\|"/);
  });

  for (const [name, args, reason] of [
    ["a key twice", '{"n":1,"n":2}', /n\\?" twice/],
    ["a key twice, once escaped", '{"n":1,"\\u006e":2}', /n\\?" twice/],
    ["a key twice, deep inside", '{"deep":[{"a":{"b":1,"b":2}}]}', /b\\?" twice/],
    ["__proto__", '{"__proto__":{"n":1}}', /__proto__/],
    ["__proto__, escaped, deep inside", '{"deep":{"\\u005f_proto__":1}}', /__proto__/],
    [
      "a hundred thousand levels",
      `{"deep":${"[".repeat(100_000)}${"]".repeat(100_000)}}`,
      /nesting|JSON/,
    ],
    ["no JSON", "{n:1}", /Expected JSON/],
    ["a number of a language", '{"n":NaN}', /Expected JSON/],
  ] as const) {
    test(`39: ${name} is a bad request with the reason, on both faces`, async (context) => {
      const { call, post, runner } = await aDoor(context);

      const shim = await call("json", args);
      const mcp = await post("/mcp", mcpCall("box_json", args));

      assert.deepEqual([shim.status, mcp.status], [400, 400]);
      assert.match(shim.body, reason);
      assert.match(mcp.body, reason);
      assert.deepEqual(runner.records, []);
    });
  }

  for (const [name, args, reason] of [
    [
      "constructor as an unknown key",
      '{"constructor":{"prototype":{}}}',
      /unknown argument .{1,3}constructor/,
    ],
    ["NUL", '{"role":"a\\u0000b"}', /NUL/],
    ["a lone surrogate", '{"role":"\\ud800"}', /surrogate/],
    ["a number beyond 2^53", '{"n":9007199254740993}', /2\^53/],
    ["an infinite number", '{"n":1e400}', /finite|2\^53/],
    ["seventy levels", `{"deep":${"[".repeat(70)}${"]".repeat(70)}}`, /nesting of at most 64/],
    ["a value of another type", '{"n":"5"}', /must be number/],
    ["an array for the arguments", "[1]", /Arguments do not fit/],
  ] as const) {
    test(`39: ${name} is refused with the reason`, async (context) => {
      const { call } = await aDoor(context);

      const { body } = await call("json", args);

      assert.match(body, reason);
      assert.doesNotMatch(body, /"outcome":"completed"/);
    });
  }

  test("39: a hundred megabytes are refused, and the next request is served", async (context) => {
    const { post, call } = await aDoor(context);

    const huge = await post("/v1/tools/box/json", Buffer.alloc(100 * 1024 * 1024, 0x20));
    const next = await call("json", '{"n":1}');

    assert.equal(huge.status, 413);
    assert.match(next.body, /"outcome":"completed"/);
  });

  test("39: directions of text are data; names that only look alike are unknown", async (context) => {
    const { call, post } = await aDoor(context);

    const data = await call("json", '{"role":"\\u202etxt.exe"}');
    const homoglyph = await post("/mcp", mcpCall("bоx_json", "{}"));
    const path = await post("/v1/tools/b%D0%BEx/json", '{"arguments":{}}');

    assert.equal((JSON.parse(data.body) as { stdout: string }).stdout, '{"role":"\u202etxt.exe"}');
    assert.match(homoglyph.body, /No tool is named/);
    assert.equal(path.status, 404);
  });

  test("40: schemas are compiled strictly, before anything is called", () => {
    const problemsOf = (inputSchema: Record<string, unknown>): string =>
      checkTool(aTool({ operations: [{ name: "go", command: ["/bin/true"], inputSchema }] }))
        .map(({ problem }) => problem)
        .join();
    const property = (schema: object): Record<string, unknown> => ({
      type: "object",
      properties: { a: schema },
    });

    assert.match(
      problemsOf(property({ type: "string", format: "no-such-format" })),
      /unknown format/,
    );
    assert.match(
      problemsOf(property({ $ref: "https://evil.example/schema.json" })),
      /only references inside/,
    );
    assert.match(problemsOf(property({ $ref: "file:///etc/passwd" })), /only references inside/);
    assert.match(
      problemsOf(property({ type: "string", pattern: "(" })),
      /pattern|regular expression/i,
    );
    assert.match(problemsOf(property({ typo: "string" })), /unknown keyword/);
    assert.match(problemsOf({ $async: true, ...property({ type: "string" }) }), /\$async/);
    assert.equal(problemsOf(property({ type: "string" })), "");
  });

  test("40: no default is filled in, and a check that explodes is stopped", async (context) => {
    const { call } = await aDoor(context);
    const started = performance.now();

    const none = await call("json", "{}");
    const pairs = Array.from({ length: 20_000 }, (_, n) => ({ n }));
    // A door each: a schema whose check took too long takes nothing for a while.
    const explosions = await Promise.all(
      [{ slow: `${"a".repeat(60)}!` }, { pairs }, { doubled: {} }].map(async (args) => {
        const door = await aDoor(context);
        return await door.call("json", JSON.stringify(args));
      }),
    );

    assert.equal((JSON.parse(none.body) as { stdout: string }).stdout, "{}");
    for (const { body } of explosions) assert.match(body, /took longer than/);
    assert.ok(performance.now() - started < 20_000);
  });

  test("43: a body that never ends holds nobody up", async () => {
    const body = Object.assign(new PassThrough(), {
      headers: { "content-type": "application/json" },
    });
    body.write('{"arguments":');

    await assert.rejects(
      readJsonBody(body as unknown as IncomingMessage, { withinMs: 50 }),
      (error: Error & { code: string }) => error.code === "body_too_slow",
    );
    assert.ok(body.destroyed);
  });

  test("43: unfinished requests hold a bounded amount of memory together, and later ones are served again", async () => {
    const open = Array.from({ length: 24 }, () =>
      Object.assign(new PassThrough(), { headers: { "content-type": "application/json" } }),
    );
    const reading = open.map((body) => readJsonBody(body as unknown as IncomingMessage));
    const over = Promise.allSettled(reading);
    for (const body of open) body.write(Buffer.alloc(4 * 1024 * 1024 - 16, " "));
    await new Promise(setImmediate);
    for (const body of open) body.end("{}");

    const ends = await over;
    const refused = ends.filter(
      (end) => end.status === "rejected" && end.reason.code === "too_many_bodies",
    );
    assert.equal(refused.length, 8);
    assert.equal(ends.filter(({ status }) => status === "fulfilled").length, 16);
    const later = Object.assign(new PassThrough(), {
      headers: { "content-type": "application/json" },
    });
    later.end("{}");
    assert.deepEqual(await readJsonBody(later as unknown as IncomingMessage), {});
  });

  test("41: without the run's token, from another host or origin, nothing answers", async (context) => {
    const { post, runner } = await aDoor(context);
    const body = '{"arguments":{}}';
    const attempts: [OutgoingHttpHeaders, number][] = [
      [{ authorization: "" }, 401],
      [{ authorization: `Bearer ${TOKEN}x` }, 401],
      [{ authorization: `Basic ${Buffer.from(`agent:${TOKEN}`).toString("base64")}` }, 401],
      [{ host: "rebound.evil.example" }, 403],
      [{ host: "127.0.0.1.evil.example" }, 403],
      [{ origin: "https://evil.example" }, 403],
      [{ origin: "null" }, 403],
      [{ "content-type": "text/plain" }, 400],
    ];
    for (const [headers, status] of attempts)
      assert.equal(
        (await post("/v1/tools/box/json", body, headers)).status,
        status,
        JSON.stringify(headers),
      );
    assert.deepEqual(runner.records, []);
  });

  test("43: calls beyond the tool's own limit wait, beyond the queue they are refused, and a disconnect ends them", async (context) => {
    const door = await aDoor(context);
    const gone = new AbortController();
    const calls = Array.from({ length: 80 }, () =>
      runToolCall(
        door.runner,
        { tool: "box", operation: "wait", arguments: {}, face: "shim" },
        gone.signal,
      ),
    );
    const refused = calls
      .slice(66)
      .map((call) => call.then(({ outcome, detail }) => [outcome, detail?.cause]));
    for (const [outcome, cause] of await Promise.all(refused)) {
      assert.equal(outcome, "refused");
      assert.match(cause ?? "", /2 run and 64 wait/);
    }
    assert.equal(door.runner.records.filter(({ type }) => type === "call_started").length, 2);
    const started = performance.now();
    gone.abort();

    const ends = await Promise.all(calls.slice(0, 66));

    assert.ok(ends.every(({ outcome }) => outcome === "cancelled"));
    assert.ok(performance.now() - started < 1000);
  });

  test("44: names with controls are one record, escaped", async (context) => {
    const { post, runner } = await aDoor(context);

    await post("/mcp", mcpCall('box_\r\n{"type":"call"}\u001b[31m', "{}"));
    await post("/mcp", mcpCall('evil\u001b]0;x\u0007"_go', "{}"));

    for (const record of runner.records) {
      assert.ok(record.type === "call" && record.outcome === "refused");
      for (const value of [record.tool, record.operation, record.detail?.cause ?? ""])
        assert.doesNotMatch(value, /[\u0000-\u001f]/);
    }
    assert.equal(runner.records.length, 2);
    assert.equal(existsSync("/tmp/escaped"), false);
  });
});
