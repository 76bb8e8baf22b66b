// The MCP face as bytes on a connection: what clients do that no client library shows.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { test } from "node:test";
import { atEnd } from "../helpers/at-end.ts";
import { McpFace } from "../../src/tool-runner/mcp-server.ts";
import { aRunner } from "./support.ts";

test("it tells whether a client has got the list of tools", async (context) => {
  const face = new McpFace(await aRunner(context, []));
  const server = createServer((request, response) => void face.serve(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const told = async (): Promise<unknown> => await (await fetch(`${url}/v1/mcp`)).json();
  const post = async (method: string, params: object): Promise<void> => {
    const headers = {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
    };
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    await (await fetch(`${url}/mcp`, { method: "POST", headers, body })).text();
  };

  const clientInfo = { name: "it", version: "1" };
  await post("initialize", { protocolVersion: "2025-06-18", capabilities: {}, clientInfo });
  const before = await told();
  await post("tools/list", {});

  assert.deepEqual([before, await told()], [{ listed: false }, { listed: true }]);
});

test("a client that asks for a stream and lists the tools on the same connection is answered both", async (context) => {
  const face = new McpFace(await aRunner(context, []));
  const server = createServer((request, response) => void face.serve(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  atEnd(context, () => {
    server.closeAllConnections();
    server.close();
  });
  const list = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" });
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  atEnd(context, () => socket.destroy());
  let answers = "";
  socket.on("data", (chunk) => (answers += chunk.toString()));

  socket.write("GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n");
  socket.write(
    `POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json, text/event-stream\r\n` +
      `Content-Type: application/json\r\nContent-Length: ${list.length}\r\n\r\n${list}`,
  );
  while (!answers.includes('"tools"') && !socket.destroyed)
    await Promise.race([once(socket, "data"), once(socket, "close")]);

  assert.match(answers, /^HTTP\/1\.1 405 /);
  assert.match(answers, /HTTP\/1\.1 200 [^]*"tools":\[\]/);
});
