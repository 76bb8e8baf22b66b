import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { suite, test } from "node:test";
import { silentLog } from "../../../src/kit/log.ts";
import type { BoundaryRequest } from "../../../src/tool-runner/boundary/boundary.ts";
import { createPublicProxy } from "../../../src/tool-runner/boundary/public-proxy.ts";
import { runCurl } from "./world.ts";

interface Proxy extends AsyncDisposable {
  records: BoundaryRequest[];
  url: string;
  port: number;
}

async function openProxy(): Promise<Proxy> {
  const records: BoundaryRequest[] = [];
  const proxy = createPublicProxy({ log: silentLog, onRequest: (record) => records.push(record) });
  const server = http.createServer((req, res) => proxy.request(req, res));
  server.on("connect", (req, socket, head) => proxy.connect(req, socket, head));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    records,
    port,
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await Promise.resolve();
    },
  };
}

suite("the public proxy", () => {
  test("refuses what is not public, by name, by address and in every spelling", async () => {
    await using proxy = await openProxy();
    const targets = [
      "127.0.0.1:80",
      "localhost:443",
      "10.0.0.1:443",
      "192.168.1.1:80",
      "169.254.169.254:80",
      "100.64.0.1:443",
      "0.0.0.0:80",
      "[::1]:443",
      "[::ffff:127.0.0.1]:443",
      "[::ffff:a9fe:a9fe]:80",
      "[fd00:ec2::254]:80",
      "[fe80::1]:80",
      "[64:ff9b::7f00:1]:80",
      "224.0.0.1:80",
      "[2002:7f00:1::]:80",
      "0x7f000001:80",
      "127.1:80",
      "2130706433:80",
      "127.0.0.1.:80",
      "localhost.:443",
      "a@127.0.0.1:80",
    ];

    for (const target of targets) {
      const socket = net.connect(proxy.port, "127.0.0.1");
      socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
      const [answer] = (await once(socket, "data")) as [Buffer];
      socket.destroy();
      assert.match(answer.toString(), /^HTTP\/1\.1 40[03] /, target);
    }

    assert.equal(proxy.records.length, targets.length);
    for (const { verdict, source } of proxy.records) {
      assert.ok(["refused_address", "refused_ambiguous"].includes(verdict), verdict);
      assert.equal(source, "agent");
    }
  });

  test("opens ports 80 and 443 only", async () => {
    await using proxy = await openProxy();

    for (const target of [
      "example.com:22",
      "example.com:25",
      "example.com:8080",
      "example.com:5432",
    ]) {
      const answer = await runCurl([
        "-sS",
        "--proxytunnel",
        "--proxy",
        proxy.url,
        `http://${target}/`,
      ]);
      assert.match(answer.stderr, /403/, target);
    }

    assert.ok(proxy.records.every(({ verdict }) => verdict === "refused_host"));
  });

  test("refuses a plain request to a private host with a reason that can be read", async () => {
    await using proxy = await openProxy();

    const answer = await runCurl([
      "-sS",
      "-D",
      "-",
      "-w",
      "\n%{http_code}",
      "--proxy",
      proxy.url,
      "http://127.0.0.1/x?token=1",
    ]);

    assert.equal(answer.status, 403);
    assert.equal(JSON.parse(answer.body).error.code, "address_refused");
    assert.equal(proxy.records[0]?.path, "/x");
  });
});
