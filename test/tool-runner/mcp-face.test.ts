// The MCP face as bytes on a connection: what clients do that no client library shows.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { test } from "node:test";
import { atEnd } from "../helpers/at-end.ts";
import { McpFace } from "../../src/tool-runner/mcp-server.ts";
import { aRunner } from "./support.ts";

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
