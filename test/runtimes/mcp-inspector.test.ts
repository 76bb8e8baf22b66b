// The MCP project's own inspector and client SDK as clients of a tool-runner's door: over HTTP, and over its unix socket.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { type AddressInfo, createConnection, createServer } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { suite, test, type TestContext } from "node:test";
import { promisify } from "node:util";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { CallToolResult } from "@modelcontextprotocol/sdk/types.js";
import { atEnd } from "../helpers/at-end.ts";
import { silentLog } from "../../src/kit/log.ts";
import { AgentHttp } from "../../src/tool-runner/agent-http.ts";
import { AgentToken } from "../../src/tool-runner/agent-token.ts";
import { McpFace } from "../../src/tool-runner/mcp-server.ts";
import { aRunner, aTool, temporaryDirectory } from "../tool-runner/support.ts";
import { skipWithout } from "./session.ts";

const TOKEN = "the-token-of-the-agent-".padEnd(43, "x");
const tool = aTool({
  description: "Draws.",
  operations: [
    {
      name: "draw",
      command: [
        "/bin/sh",
        "-c",
        'echo "drawn $0"; echo text > a.txt; printf "\\211PNG" > b.png',
        "{{what}}",
      ],
      files: ["*"],
      inputSchema: {
        type: "object",
        properties: { what: { type: "string" } },
        required: ["what"],
        additionalProperties: false,
      },
    },
    { name: "wait", command: ["/bin/sleep", "600"] },
  ],
});

async function aDoor(context: TestContext): Promise<{ socketPath: string; url: string }> {
  const runner = await aRunner(context, [tool]);
  const socketPath = join(temporaryDirectory(context), "run.sock");
  const mcp = new McpFace(runner);
  const http = await AgentHttp.listen({
    socketPath,
    token: new AgentToken(TOKEN),
    log: silentLog,
    routes: {
      mcp: (incoming, response) => mcp.serve(incoming, response),
      tools: () => Promise.reject(new TypeError("not asked for here")),
      model: null,
      proxy: null,
    },
  });
  atEnd(context, () => http[Symbol.asyncDispose]());
  const relay = createServer((near) => {
    const far = createConnection(socketPath);
    near.on("error", () => far.destroy()).on("close", () => far.destroy());
    far.on("error", () => near.destroy()).on("close", () => near.destroy());
    near.pipe(far).pipe(near);
  }).listen(0, "127.0.0.1");
  await once(relay, "listening");
  atEnd(context, () => relay.close());
  return { socketPath, url: `http://127.0.0.1:${(relay.address() as AddressInfo).port}/mcp` };
}

/** `fetch` over a unix socket, for the SDK's transport. */
function fetchOver(socketPath: string): typeof fetch {
  return async (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    const headers = { ...Object.fromEntries(new Headers(init.headers)), host: "localhost" };
    const { signal } = init;
    const outgoing = request(
      {
        socketPath,
        path: url.pathname,
        method: init.method ?? "GET",
        headers,
        ...(signal === undefined || signal === null ? {} : { signal }),
      },
      (response) => {
        const body = response.statusCode === 202 || response.statusCode === 204 ? null : response;
        const fields = Object.entries(response.headers).map(([name, value]) => [
          name,
          String(value),
        ]);
        resolve(
          new Response(body === null ? null : (Readable.toWeb(body) as ReadableStream), {
            status: response.statusCode ?? 0,
            headers: fields as [string, string][],
          }),
        );
      },
    ).on("error", reject);
    outgoing.end(init.body);
    return await promise;
  };
}

suite("MCP's own clients", () => {
  test("the client SDK lists, calls, reads files and cancels over the unix socket", async (context) => {
    const { socketPath } = await aDoor(context);
    const client = new Client({ name: "test", version: "0" });
    await client.connect(
      new StreamableHTTPClientTransport(new URL("http://localhost/mcp"), {
        fetch: fetchOver(socketPath),
        requestInit: { headers: { authorization: `Bearer ${TOKEN}` } },
      }),
    );

    const { tools } = await client.listTools();
    const drawn = (await client.callTool({
      name: "box_draw",
      arguments: { what: "a cat" },
    })) as CallToolResult;
    const stop = new AbortController();
    const waiting = client.callTool({ name: "box_wait", arguments: {} }, undefined, {
      signal: stop.signal,
    });
    setTimeout(() => stop.abort(), 200);
    await assert.rejects(waiting);
    await client.close();

    assert.deepEqual(
      tools.map(({ name }) => name),
      ["box_draw", "box_wait"],
    );
    const kinds = drawn.content.map((block) =>
      block.type === "resource" ? [block.resource.mimeType, "text" in block.resource] : block.type,
    );
    assert.deepEqual(kinds, ["text", ["text/plain", true], ["image/png", false]]);
  });

  test(
    "the inspector lists tools, calls one and shows its error",
    { skip: skipWithout("mcp-inspector") },
    async (context) => {
      const { url } = await aDoor(context);
      const inspect = async (...words: string[]): Promise<string> => {
        const { stdout } = await promisify(execFile)(
          "mcp-inspector",
          [
            "--cli",
            url,
            "--transport",
            "http",
            "--header",
            `Authorization: Bearer ${TOKEN}`,
            ...words,
          ],
          { timeout: 60_000 },
        );
        return stdout;
      };

      const listed = JSON.parse(await inspect("--method", "tools/list")) as {
        tools: { name: string }[];
      };
      const call = ["--method", "tools/call", "--tool-name", "box_draw"];
      const drawn = JSON.parse(
        await inspect(...call, "--tool-arg", "what=a cat"),
      ) as CallToolResult;
      const wrong = JSON.parse(await inspect(...call, "--tool-arg", "which=x")) as CallToolResult;

      assert.deepEqual(
        listed.tools.map(({ name }) => name),
        ["box_draw", "box_wait"],
      );
      assert.equal(drawn.content.length, 3);
      assert.match(JSON.stringify(drawn.content[0]), /drawn a cat/);
      assert.equal(wrong.isError, true);
      assert.match(JSON.stringify(wrong.content), /known arguments: what/);
    },
  );
});
