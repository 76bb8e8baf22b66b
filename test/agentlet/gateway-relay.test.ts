import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, suite, test } from "node:test";
import { text } from "node:stream/consumers";
import { openGatewayRelay } from "../../src/agentlet/gateway-relay.ts";

/** Waits for the close, whether an error comes before it or not. */
async function closeOf(socket: Socket): Promise<void> {
  if (!socket.closed) await new Promise<void>((resolve) => socket.once("close", () => resolve()));
}

suite("the gateway relay", () => {
  let directory: string;
  let path: string;
  let runner: Server;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "agentlet-relay-"));
    path = join(directory, "run.sock");
    // Answers only after it has seen the end of the request: a half-close must get through.
    runner = createServer({ allowHalfOpen: true }, (socket: Socket) => {
      void text(socket).then((request) => socket.end(`answer to ${request.length}`));
      socket.on("error", () => undefined);
    });
    runner.listen(path);
    await once(runner, "listening");
  });
  afterEach(async () => {
    if (runner.listening) {
      runner.close();
      await once(runner, "close");
    }
    await rm(directory, { recursive: true });
  });

  test("keeps bytes and half-closes in both directions", async () => {
    await using relay = await openGatewayRelay(null, path);
    const client = connect({ port: relay.port, host: "127.0.0.1", allowHalfOpen: true });

    client.end(Buffer.alloc(3_000_000, "x"));

    assert.equal(await text(client), "answer to 3000000");
  });

  test("closes a connection when the runner is away, and serves the next when it is back", async () => {
    runner.close();
    await once(runner, "close");
    await using relay = await openGatewayRelay(null, path);
    const refused = connect({ port: relay.port, host: "127.0.0.1" });
    refused.on("error", () => undefined);
    await closeOf(refused);

    runner.listen(path);
    await once(runner, "listening");
    const client = connect({ port: relay.port, host: "127.0.0.1", allowHalfOpen: true });
    client.end("12345");

    assert.equal(await text(client), "answer to 5");
  });

  test("ends with open connections and leaves none", async () => {
    const relay = await openGatewayRelay(null, path);
    const client = connect({ port: relay.port, host: "127.0.0.1" });
    client.on("error", () => undefined);
    await once(client, "connect");
    client.write("x");

    await relay[Symbol.asyncDispose]();

    await closeOf(client);
  });
});
