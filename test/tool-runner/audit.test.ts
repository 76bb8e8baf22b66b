import assert from "node:assert/strict";
import { once } from "node:events";
import { appendFileSync, readFileSync, statSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { WebSocketServer, type WebSocket } from "ws";
import { silentLog } from "../../src/kit/log.ts";
import { AuditMessage, type AuditRecord } from "../../src/protocol/audit.ts";
import { AuditJournal } from "../../src/tool-runner/audit-journal.ts";
import { AuditLink } from "../../src/tool-runner/audit-link.ts";
import { temporaryDirectory } from "./support.ts";

const time = new Date().toISOString();
const started = (call: string): AuditRecord => ({
  type: "call_started",
  time,
  run: "r",
  call,
  tool: "t",
  operation: "o",
  face: "mcp",
  digest: "d",
  arguments: "00",
});
const request = (path: string): AuditRecord => ({
  type: "request",
  time,
  run: "r",
  call: null,
  source: "agent",
  credential: null,
  method: "GET",
  host: "h:443",
  path,
  status: 200,
  bytesUp: 0,
  bytesDown: 0,
  durationMs: 1,
  masked: 0,
  verdict: "allowed",
});
const CALL = "ab".repeat(16);

suite("AuditJournal", () => {
  test("closes the calls of a process that died, as lost, and counts on", (context) => {
    const path = join(temporaryDirectory(context), "audit.jsonl");
    {
      using journal = AuditJournal.open(path);
      journal.append(started(CALL));
      journal.append(request("/x"));
    }
    appendFileSync(path, '{"seq":3,"record":{"type":"requ');

    {
      using again = AuditJournal.open(path);
      assert.equal(again.lastSeq, 3);
    }

    const lines = readFileSync(path, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { seq: number; record: AuditRecord });
    assert.deepEqual(
      lines.map(({ seq }) => seq),
      [1, 2, 3],
    );
    const last = lines[2]?.record;
    assert.equal(last?.type === "call" && last.outcome === "lost" && last.call === CALL, true);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    using third = AuditJournal.open(path);
    assert.equal(third.lastSeq, 3);
  });

  test("gives old records and new ones, once each and in order", async (context) => {
    using journal = AuditJournal.open(join(temporaryDirectory(context), "audit.jsonl"));
    for (const path of ["/1", "/2", "/3"]) journal.append(request(path));
    const stop = new AbortController();
    const seen: number[] = [];

    const following = (async () => {
      for await (const { seq } of journal.follow(1, stop.signal)) {
        seen.push(seq);
        if (seq === 3) journal.append(request("/4"));
        if (seq === 4) setTimeout(() => journal.append(request("/5")), 10);
        if (seq === 5) stop.abort();
      }
    })();
    await following;

    assert.deepEqual(seen, [2, 3, 4, 5]);
  });
});

/** A manager that keeps records by number, and can cut connections. */
async function aManager(context: TestContext): Promise<{
  url: string;
  server: WebSocketServer;
  kept: number[];
  headers: (string | undefined)[];
  cut(): void;
  refuseWith: { code: number | null };
}> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", path: "/v1/runs/r/audit" });
  await once(server, "listening");
  context.after(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  const kept: number[] = [];
  const headers: (string | undefined)[] = [];
  const refuseWith: { code: number | null } = { code: null };
  server.on("connection", (socket: WebSocket, upgrade) => {
    headers.push(upgrade.headers.authorization);
    if (refuseWith.code !== null) return socket.close(refuseWith.code, "no");
    const ack = (): void => socket.send(JSON.stringify({ kind: "ack", seq: kept.at(-1) ?? 0 }));
    socket.on("message", (data: Buffer) => {
      const message = AuditMessage.parse(JSON.parse(data.toString("utf8")));
      if (message.kind === "audit" && message.seq === (kept.at(-1) ?? 0) + 1)
        kept.push(message.seq);
      ack();
    });
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    server,
    kept,
    headers,
    refuseWith,
    cut: () => [...server.clients].forEach((client) => client.terminate()),
  };
}

suite("AuditLink", () => {
  test("brings every record to the manager, in order, across cut connections", async (context) => {
    const manager = await aManager(context);
    using journal = AuditJournal.open(join(temporaryDirectory(context), "audit.jsonl"));
    for (let index = 0; index < 600; index += 1) journal.append(request(`/${index}`));
    await using link = new AuditLink({
      managerUrl: manager.url,
      run: "r",
      epoch: 0,
      token: "secret-token",
      journal,
      log: silentLog,
    });

    await once(manager.server, "connection");
    manager.cut();
    for (let index = 600; index < 1200; index += 1) journal.append(request(`/${index}`));
    setTimeout(() => manager.cut(), 30);

    assert.equal(await link.flush(10_000), true);
    assert.deepEqual(
      manager.kept,
      Array.from({ length: 1200 }, (_, index) => index + 1),
    );
    assert.equal(manager.headers[0], "Bearer secret-token");
  });

  test("does not wait for ever for a manager that is away", async (context) => {
    using journal = AuditJournal.open(join(temporaryDirectory(context), "audit.jsonl"));
    journal.append(request("/"));
    await using link = new AuditLink({
      managerUrl: "http://127.0.0.1:9",
      run: "r",
      epoch: 0,
      token: "t",
      journal,
      log: silentLog,
    });

    assert.equal(await link.flush(100), false);
  });

  test("stops for good when it is refused", async (context) => {
    const manager = await aManager(context);
    manager.refuseWith.code = 4409;
    using journal = AuditJournal.open(join(temporaryDirectory(context), "audit.jsonl"));
    journal.append(request("/"));
    await using link = new AuditLink({
      managerUrl: manager.url,
      run: "r",
      epoch: 0,
      token: "t",
      journal,
      log: silentLog,
    });

    assert.equal(await link.flush(5000), false);
    assert.equal(manager.headers.length, 1);
  });
});
