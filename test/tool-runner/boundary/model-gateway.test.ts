import assert from "node:assert/strict";
import { once } from "node:events";
import http, { type RequestListener } from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { suite, test } from "node:test";
import zlib from "node:zlib";
import { silentLog } from "../../../src/kit/log.ts";
import type { RunSpec } from "../../../src/protocol/run-spec.ts";
import type { BoundaryRequest } from "../../../src/tool-runner/boundary/boundary.ts";
import { CertificateAuthority } from "../../../src/tool-runner/boundary/certificate-authority.ts";
import { ModelBudget } from "../../../src/tool-runner/boundary/model-budget.ts";
import { createModelGateway } from "../../../src/tool-runner/boundary/model-gateway.ts";
import { providerOfRun, upstreamPath } from "../../../src/tool-runner/boundary/model-providers.ts";
import { runCurl } from "./world.ts";

const KEY = "sk-ant-api03-Zx81kQv93LmNbTr7Yw2Pd6Hs";
const TOKEN = "run-agent-token-0123456789abcdef0123456789";

type SpecPart = Pick<RunSpec, "modelEndpoint"> & {
  agent: { runtime: string; model?: { provider: string } };
};

function aSpec(part: Partial<SpecPart> = {}): RunSpec {
  return { agent: { runtime: "ClaudeCode" }, modelEndpoint: null, ...part } as unknown as RunSpec;
}

function unlimited(): ModelBudget {
  return new ModelBudget(undefined, { requests: 0, inputTokens: 0, outputTokens: 0 }, () => {});
}

interface Gateway extends AsyncDisposable {
  records: BoundaryRequest[];
  received: http.IncomingMessage[];
  ask(path: string, ...args: string[]): ReturnType<typeof runCurl>;
}

async function openGateway(options: {
  handler?: RequestListener;
  key?: string | null;
  prefix?: string;
  plain?: boolean;
  provider?: string;
  runtime?: string;
}): Promise<Gateway> {
  const authority = new CertificateAuthority({ name: "model" });
  const leaf = authority.issue("127.0.0.1");
  const received: http.IncomingMessage[] = [];
  const records: BoundaryRequest[] = [];
  const listener: RequestListener = (req, res) => {
    received.push(req);
    (options.handler ?? ((_, reply) => reply.end("fine")))(req, res);
  };
  const upstream =
    options.plain === true
      ? http.createServer(listener)
      : https.createServer({ cert: leaf.certPem, key: leaf.keyPem }, listener);
  upstream.listen(0, "127.0.0.1");
  await once(upstream, "listening");
  const { port } = upstream.address() as AddressInfo;
  const scheme = options.plain === true ? "http" : "https";
  const key = options.key === undefined ? KEY : options.key;
  const gateway = createModelGateway({
    spec: aSpec({
      agent: {
        runtime: options.runtime ?? "ClaudeCode",
        ...(options.provider === undefined ? {} : { model: { provider: options.provider } }),
      },
      modelEndpoint: {
        url: `${scheme}://127.0.0.1:${port}${options.prefix ?? ""}`,
        ...(options.plain === true ? {} : { ca: { inline: authority.certPem } }),
      },
    }),
    key: key === null ? null : Buffer.from(key),
    log: silentLog,
    onRequest: (record) => records.push(record),
    budget: unlimited(),
  });
  const server = http.createServer(gateway).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    records,
    received,
    ask: (path, ...args) =>
      runCurl([
        "-sS",
        "--path-as-is",
        "--max-time",
        "10",
        "-D",
        "-",
        "-w",
        "\n%{http_code}",
        `${url}${path}`,
        ...args,
      ]),
    async [Symbol.asyncDispose]() {
      for (const each of [server, upstream]) {
        each.closeAllConnections();
        each.close();
      }
      await Promise.resolve();
    },
  };
}

suite("the model gateway", () => {
  test("puts the key in for the agent's token, wherever that one stands", async () => {
    await using gateway = await openGateway({});

    const answer = await gateway.ask(
      "/model/anthropic/v1/messages?beta=true",
      "-H",
      `Authorization: Bearer ${TOKEN}`,
      "-H",
      `X-Api-Key: ${TOKEN}`,
      "-H",
      `X-Also: t=${TOKEN}`,
      "-H",
      "anthropic-version: 2023-06-01",
      "-H",
      "Cookie: a=b",
      "-d",
      '{"model":"m"}',
    );

    assert.equal(answer.body, "fine");
    const [req] = gateway.received;
    assert.equal(req?.url, "/v1/messages?beta=true");
    assert.equal(req?.headers["x-api-key"], KEY);
    assert.equal(req?.headers["anthropic-version"], "2023-06-01");
    assert.equal(req?.headers.authorization, undefined);
    assert.equal(req?.headers.cookie, undefined);
    assert.doesNotMatch(JSON.stringify(req?.rawHeaders), /run-agent-token/);
    const [record] = gateway.records;
    assert.equal(record?.source, "model");
    assert.equal(record?.call, null);
    assert.equal(record?.verdict, "allowed");
    assert.equal(record?.path, "/v1/messages");
    assert.equal(record?.bytesUp, 13);
  });

  test("shows each provider its key in the provider's way", async () => {
    const forms: [string, string, string, string, string][] = [
      [
        "anthropic",
        "sk-ant-oat01-abcdefghijklmnop",
        "/v1/messages",
        "authorization",
        "Bearer sk-ant-oat01-abcdefghijklmnop",
      ],
      [
        "openai",
        "sk-proj-abcdefghijklmnop",
        "/v1/responses",
        "authorization",
        "Bearer sk-proj-abcdefghijklmnop",
      ],
      [
        "google",
        "AIzaabcdefghijklmnop",
        "/v1beta/models/gemini-3-pro:streamGenerateContent",
        "x-goog-api-key",
        "AIzaabcdefghijklmnop",
      ],
    ];
    for (const [provider, key, path, header, value] of forms) {
      await using gateway = await openGateway({ key: `${key}\n`, provider });

      const answer = await gateway.ask(
        `/model/${provider}${path}?key=${TOKEN}&alt=sse`,
        "-H",
        `x-goog-api-key: ${TOKEN}`,
        "-H",
        "anthropic-beta: one,two",
        "-d",
        "{}",
      );

      assert.equal(answer.status, 200, answer.body);
      assert.equal(gateway.received[0]?.headers[header], value);
      assert.equal(gateway.received[0]?.url, `${path}?alt=sse`);
      const betas = gateway.received[0]?.headers["anthropic-beta"];
      assert.equal(betas, provider === "anthropic" ? "one,two,oauth-2025-04-20" : "one,two");
    }
  });

  test("opens the declared paths and no other, and answers the greeting itself", async () => {
    await using gateway = await openGateway({});
    const closed = [
      "/model/anthropic/v1/organizations",
      "/model/anthropic/v1/messages/",
      "/model/anthropic/v1/messages/../organizations",
      "/model/anthropic/v1/messages%2f..%2forganizations",
      "/model/anthropic//v1/messages",
      "/model/anthropic/v1/files",
      "/model/other/v1/messages",
      "/model/__proto__/v1/messages",
      "/model/anthropic",
    ];

    for (const path of closed) {
      const answer = await gateway.ask(path, "-d", "{}");
      assert.equal(answer.status, 404, path);
      assert.equal(JSON.parse(answer.body).error.code, "not_a_model_path");
    }
    assert.equal((await gateway.ask("/model/anthropic/v1/messages")).status, 404);
    assert.equal((await gateway.ask("/model/anthropic/api/hello", "-I")).status, 200);
    assert.equal(gateway.received.length, 0);
    assert.equal((await gateway.ask("/model/anthropic/v1/models/claude-opus-4-7")).status, 200);
    assert.equal(
      (await gateway.ask("/model/anthropic/v1/messages/count_tokens", "-d", "{}")).status,
      200,
    );
  });

  test("sends the key to its own provider only", async () => {
    await using gateway = await openGateway({});

    const answer = await gateway.ask("/model/openai/v1/responses", "-d", "{}");

    assert.equal(answer.status, 403);
    assert.equal(JSON.parse(answer.body).error.code, "other_provider");
    assert.equal(gateway.received.length, 0);
    const custom = { agent: { runtime: "Custom" } };
    assert.equal(providerOfRun(aSpec(custom), "sk-proj-1"), "openai");
    assert.equal(providerOfRun(aSpec(custom), "AIza1"), "google");
    assert.equal(providerOfRun(aSpec(custom), "unknown"), "anthropic");
    assert.equal(
      providerOfRun(aSpec({ ...custom, modelEndpoint: { url: "https://gw.example" } }), "unknown"),
      null,
    );
    assert.equal(
      providerOfRun(aSpec({ agent: { runtime: "Custom", model: { provider: "google" } } }), "sk-1"),
      "google",
    );
  });

  test("masks the key in answers, compressed ones too, and passes events as they come", async () => {
    const pending: http.ServerResponse[] = [];
    await using gateway = await openGateway({
      handler: (req, res) => {
        if (req.url === "/v1/models") {
          const body = zlib.gzipSync(`your key is ${String(req.headers["x-api-key"])}`);
          res
            .writeHead(401, { "content-encoding": "gzip", "x-echo": KEY, "set-cookie": "a=b" })
            .end(body);
          return;
        }
        res.writeHead(200, { "content-type": "text/event-stream" });
        res.write(`data: ${KEY.slice(0, 10)}`);
        pending.push(res);
      },
    });

    const reflected = await gateway.ask("/model/anthropic/v1/models");
    const streaming = gateway.ask("/model/anthropic/v1/messages", "-N", "-d", "{}");
    while (pending.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    pending[0]?.end(`${KEY.slice(10)}\n\n`);

    assert.equal(reflected.status, 401);
    assert.equal(reflected.body, `your key is ${"*".repeat(KEY.length)}`);
    assert.doesNotMatch(reflected.headers, /sk-ant|set-cookie/i);
    assert.equal((await streaming).body, `data: ${"*".repeat(KEY.length)}\n\n`);
  });

  test("says 503 with the fix without a key, and 502 without an upstream's inner life", async () => {
    await using keyless = await openGateway({ key: null });
    await using broken = await openGateway({ handler: (req) => req.socket.destroy() });

    const none = await keyless.ask("/model/anthropic/v1/messages", "-d", "{}");
    const down = await broken.ask("/model/anthropic/v1/messages", "-d", "{}");

    assert.equal(none.status, 503);
    assert.match(JSON.parse(none.body).error.fix, /--secret/);
    assert.equal(down.status, 502);
    assert.equal(JSON.parse(down.body).error.code, "upstream_closed");
    assert.equal(broken.records[0]?.verdict, "upstream_failed");
  });

  test("keeps the endpoint's path, speaks plain HTTP to loopback, and to nothing public", async () => {
    await using gateway = await openGateway({
      plain: true,
      prefix: "/gw/v1",
      runtime: "Codex",
      key: "sk-abcdefghijkl",
    });

    await gateway.ask("/model/openai/v1/chat/completions", "-d", "{}");

    assert.equal(gateway.received[0]?.url, "/gw/v1/chat/completions");
    assert.equal(upstreamPath(new URL("https://gw.example/a/"), "/v1/messages"), "/a/v1/messages");
    assert.equal(upstreamPath(new URL("https://gw.example"), "/v1/messages"), "/v1/messages");
    const records: BoundaryRequest[] = [];
    const open = createModelGateway({
      spec: aSpec({ modelEndpoint: { url: "http://gw.example" } }),
      key: Buffer.from(KEY),
      log: silentLog,
      onRequest: (record) => records.push(record),
      budget: unlimited(),
    });
    const server = http.createServer(open).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const refused = await fetch(`http://127.0.0.1:${port}/model/anthropic/v1/models`);
    server.close();
    server.closeAllConnections();

    assert.equal(refused.status, 502);
    assert.equal(records[0]?.verdict, "refused_rule");
  });

  test("ends the upstream request when the client goes away", async () => {
    const closed: string[] = [];
    await using gateway = await openGateway({
      handler: (req, res) => {
        res.write("data: x\n\n");
        req.socket.once("close", () => closed.push("upstream"));
      },
    });

    await gateway.ask("/model/anthropic/v1/messages", "-d", "{}", "--max-time", "0.5");
    for (let tries = 0; tries < 200 && closed.length === 0; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }

    assert.deepEqual(closed, ["upstream"]);
  });
});
