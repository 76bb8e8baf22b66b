import assert from "node:assert/strict";
import { once } from "node:events";
import { appendFileSync, readFileSync, statSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { WebSocketServer, type WebSocket } from "ws";
import { atEnd } from "../helpers/at-end.ts";
import { createSigningKey } from "../../src/kit/signing.ts";
import { silentLog } from "../../src/kit/log.ts";
import { AuditMessage, type AuditRecord } from "../../src/protocol/audit.ts";
import { chainLine, firstPrev, parseChainLine } from "../../src/protocol/audit-chain.ts";
import type { RunnerReport } from "../../src/protocol/metrics.ts";
import { Audit } from "../../src/tool-runner/audit.ts";
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
  arguments: "00".repeat(32),
});
const request = (path: string): Extract<AuditRecord, { type: "request" }> => ({
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
const ended = (call: string): AuditRecord => ({
  type: "call",
  time,
  run: "r",
  call,
  tool: "t",
  operation: "o",
  outcome: "completed",
  exitCode: 0,
  tier: "standard",
  durationMs: 1,
  requests: 1,
  masked: 0,
});
const CALL = "ab".repeat(16);
const OPTIONS = { run: "r", key: createSigningKey() };

suite("AuditJournal", () => {
  test("cuts a torn last line, which nobody was told of, and counts on", (context) => {
    const path = join(temporaryDirectory(context), "audit.jsonl");
    {
      using journal = AuditJournal.open(path, OPTIONS);
      journal.beginEpoch("00".repeat(32));
      journal.append(request("/x"));
    }
    appendFileSync(path, '{"seq":3,"type":"requ');

    using again = AuditJournal.open(path, OPTIONS);
    again.append(request("/y"));

    assert.deepEqual(
      linesOf(path).map(({ seq }) => seq),
      [1, 2, 3],
    );
    assert.equal(statSync(path).mode & 0o777, 0o600);
  });

  test("is not opened when a whole line was changed, or another key began an epoch", (context) => {
    const path = join(temporaryDirectory(context), "audit.jsonl");
    {
      using journal = AuditJournal.open(path, OPTIONS);
      journal.beginEpoch("00".repeat(32));
      for (const name of ["/1", "/2"]) journal.append(request(name));
    }
    const text = readFileSync(path, "utf8");

    assert.throws(() => AuditJournal.open(path, { ...OPTIONS, key: createSigningKey() }), {
      code: "audit_broken",
    });
    writeFileSync(path, text.replace('"/1"', '"/3"'));
    assert.throws(() => AuditJournal.open(path, OPTIONS), { code: "audit_broken" });
    assert.match(readFileSync(path, "utf8"), /"\/3"/);
  });

  test("gives old records and new ones, once each, in order, together when they are there together", async (context) => {
    using journal = AuditJournal.open(join(temporaryDirectory(context), "audit.jsonl"), OPTIONS);
    journal.beginEpoch("00".repeat(32));
    for (const path of ["/2", "/3"]) journal.append(request(path));
    const stop = new AbortController();
    const seen: number[][] = [];

    const following = (async () => {
      for await (const lines of journal.follow(1, 1, stop.signal)) {
        seen.push(lines.map(({ seq }) => seq));
        const seq = lines.at(-1)?.seq;
        if (seq === 3) journal.append(request("/4"));
        if (seq === 4) setTimeout(() => journal.append(request("/5")), 10);
        if (seq === 5) stop.abort();
      }
    })();
    await following;

    assert.deepEqual(seen, [[2, 3], [4], [5]]);
  });
});

function linesOf(path: string): ReturnType<typeof parseChainLine>[] {
  return readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => parseChainLine(line));
}

suite("Audit", () => {
  const open = (path: string): Audit =>
    Audit.open({ path, ...OPTIONS, argumentsKey: Buffer.alloc(32, 7) });

  test("continues the chain in a new epoch and gives calls that were open a receipt as lost", (context) => {
    const path = join(temporaryDirectory(context), "audit.jsonl");
    {
      using audit = open(path);
      audit.record(started(CALL));
      audit.record({ ...request("/x"), call: CALL });
    }

    {
      using _again = open(path);
    }

    const lines = linesOf(path);
    assert.deepEqual(
      lines.map(({ epoch, record }) => [epoch, record.type]),
      [
        [1, "epoch_started"],
        [1, "call_started"],
        [1, "request"],
        [2, "epoch_started"],
        [2, "call"],
      ],
    );
    const last = lines.at(-1)?.record;
    assert.equal(last?.type === "call" && last.outcome === "lost" && last.call === CALL, true);
    assert.equal(last?.type === "call" && last.receipt?.started === 2, true);
    assert.equal(last?.type === "call" && last.receipt?.listed === 1, true);
  });

  test("a clock that was set back while the tool-runner was away makes no negative time", (context) => {
    const path = join(temporaryDirectory(context), "audit.jsonl");
    {
      using audit = open(path);
      audit.record({ ...started(CALL), time: "2099-01-01T00:00:00.000Z" });
    }

    {
      using _again = open(path);
    }

    const last = linesOf(path).at(-1)?.record;
    assert.equal(last?.type === "call" && last.durationMs, 0);
  });

  test("lists a hundred plain requests of a call and every one with a credential; the rest is counted", (context) => {
    const path = join(temporaryDirectory(context), "audit.jsonl");
    using audit = open(path);
    audit.record(started(CALL));

    for (let index = 0; index < 1000; index += 1)
      audit.record({ ...request("/flood"), call: CALL, verdict: "refused_host", bytesUp: 2 });
    audit.record({ ...request("/real"), call: CALL, credential: "github" });
    audit.record(ended(CALL));

    const records = linesOf(path).map(({ record }) => record);
    assert.equal(records.length, 1 + 1 + 100 + 1 + 1 + 1);
    const overflow = records.at(-2);
    assert.deepEqual(overflow?.type === "overflow" ? overflow.verdicts : null, {
      refused_host: 900,
    });
    assert.equal(overflow?.type === "overflow" && overflow.bytesUp === 1800, true);
    const receipt = records.at(-1);
    assert.equal(receipt?.type === "call" && receipt.receipt?.dropped === 900, true);
    assert.equal(receipt?.type === "call" && receipt.receipt?.listed === 101, true);
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
  forged: { hash: string | null };
}> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", path: "/v1/runs/r/audit" });
  await once(server, "listening");
  atEnd(context, () => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  const kept: number[] = [];
  const hashes: string[] = [];
  const forged: { hash: string | null } = { hash: null };
  const headers: (string | undefined)[] = [];
  const refuseWith: { code: number | null } = { code: null };
  server.on("connection", (socket: WebSocket, upgrade) => {
    headers.push(upgrade.headers.authorization);
    if (refuseWith.code !== null) return socket.close(refuseWith.code, "no");
    const ack = (): void => {
      const hash = forged.hash ?? hashes.at(-1) ?? firstPrev("r");
      const seq = kept.at(-1) ?? 0;
      socket.send(JSON.stringify({ kind: "ack", seq, hash, countersignature: null }));
    };
    socket.on("message", (data: Buffer) => {
      const message = AuditMessage.parse(JSON.parse(data.toString("utf8")));
      for (const { seq, record } of recordsOf(message)) {
        if (seq !== (kept.at(-1) ?? 0) + 1) continue;
        kept.push(seq);
        hashes.push(chainLine(seq, record).hash);
      }
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
    forged,
    cut: () => [...server.clients].forEach((client) => client.terminate()),
  };
}

function recordsOf(message: AuditMessage): { seq: number; record: AuditRecord }[] {
  return message.kind === "audit" ? [message, ...(message.more ?? [])] : [];
}

const NOTHING_COUNTED: RunnerReport = {
  pool: { size: 0, waiting: 0, waitingBytes: 0, warm: 0, cold: 0, prepared: 0, discarded: 0 },
  calls: { running: 0, waiting: 0, outcomes: {}, durationMs: 0 },
};

suite("AuditLink", () => {
  test("brings every record to the manager, in order, across cut connections", async (context) => {
    const manager = await aManager(context);
    using journal = AuditJournal.open(join(temporaryDirectory(context), "audit.jsonl"), OPTIONS);
    journal.beginEpoch("00".repeat(32));
    for (let index = 1; index < 600; index += 1) journal.append(request(`/${index}`));
    await using link = new AuditLink({
      manager: { url: manager.url },
      run: "r",
      epoch: 0,
      token: "secret-token",
      journal,
      report: () => NOTHING_COUNTED,
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
    using journal = AuditJournal.open(join(temporaryDirectory(context), "audit.jsonl"), OPTIONS);
    journal.beginEpoch("00".repeat(32));
    journal.append(request("/"));
    await using link = new AuditLink({
      manager: { url: "http://127.0.0.1:9" },
      run: "r",
      epoch: 0,
      token: "t",
      journal,
      report: () => NOTHING_COUNTED,
      log: silentLog,
    });

    assert.equal(await link.flush(100), false);
  });

  test("takes no record any more when the manager has another chain of this run", async (context) => {
    const manager = await aManager(context);
    manager.forged.hash = "ee".repeat(32);
    using journal = AuditJournal.open(join(temporaryDirectory(context), "audit.jsonl"), OPTIONS);
    journal.beginEpoch("00".repeat(32));
    journal.append(request("/"));
    await using link = new AuditLink({
      manager: { url: manager.url },
      run: "r",
      epoch: 0,
      token: "t",
      journal,
      report: () => NOTHING_COUNTED,
      log: silentLog,
    });

    assert.equal(await link.flush(5000), false);
    assert.throws(() => journal.append(request("/2")), { code: "audit_unavailable" });
  });

  test("stops for good when it is refused", async (context) => {
    const manager = await aManager(context);
    manager.refuseWith.code = 4409;
    using journal = AuditJournal.open(join(temporaryDirectory(context), "audit.jsonl"), OPTIONS);
    journal.beginEpoch("00".repeat(32));
    journal.append(request("/"));
    await using link = new AuditLink({
      manager: { url: manager.url },
      run: "r",
      epoch: 0,
      token: "t",
      journal,
      report: () => NOTHING_COUNTED,
      log: silentLog,
    });

    assert.equal(await link.flush(5000), false);
    assert.equal(manager.headers.length, 1);
  });
});
