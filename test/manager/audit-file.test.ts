import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { suite, test } from "node:test";
import { createSigningKey } from "../../src/kit/signing.ts";
import { AuditFile } from "../../src/manager/audit-file.ts";
import { openIdentity } from "../../src/manager/identity.ts";
import type { AuditRecord } from "../../src/protocol/audit.ts";
import { AuditAck, hashOf } from "../../src/protocol/audit-chain.ts";
import { Countersignature, isCountersigned } from "../../src/protocol/countersignature.ts";
import { Health } from "../../src/protocol/manager-api.ts";
import { api, auditMessages, Peer, seedRun, startManager, temporaryDir } from "./seed.ts";

const notice = (seconds: number): object => ({
  type: "credential",
  time: `2026-01-01T00:00:0${seconds}.000Z`,
  secret: "token/value",
  version: `1.${seconds}`,
  from: "file",
  problem: null,
});

type Message = { seq: number; record: AuditRecord };

suite("the manager's side of the audit", () => {
  test("signs the head that it has on disk with each acknowledgement, and keeps the last signature", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const { key } = Health.parse(await (await api(manager, "/v1/health")).json());
    const link = new Peer(manager, `/v1/runs/${run.run}/audit`, run.tokens.runner);
    await link.send({ kind: "hello", protocol: 1, epoch: 0 });
    for (const message of auditMessages(run.run, [notice(1), notice(2)])) await link.send(message);

    const ack = AuditAck.parse(await link.until((message) => message["seq"] === 3));
    await manager[Symbol.asyncDispose]();

    const dir = join(dataDir, "runs", run.run);
    const lines = (await readFile(join(dir, "audit.jsonl"), "utf8")).trimEnd().split("\n");
    assert.equal(ack.hash, hashOf(lines[2] ?? ""));
    assert.ok(ack.countersignature !== null && isCountersigned(ack.countersignature, key));
    const proofs = (await readFile(join(dir, "audit.proofs.jsonl"), "utf8")).trimEnd().split("\n");
    const last = Countersignature.parse(JSON.parse(proofs.at(-1) ?? ""));
    assert.deepEqual([last.at, last.hash, last.run], [3, ack.hash, run.run]);
    assert.ok(isCountersigned(last, key));
  });

  test("takes a record only where it follows, and an epoch only of the registered key", async (t) => {
    const dir = await temporaryDir(t);
    const identity = await openIdentity(dir);
    const [first, second, third] = auditMessages("demo-1", [notice(1), notice(2)]) as [
      Message,
      Message,
      Message,
    ];
    const runnerKey = first.record.type === "epoch_started" ? first.record.key : "";
    const open = async (name: string, key = runnerKey): Promise<AuditFile> =>
      await AuditFile.open({
        run: "demo-1",
        path: join(dir, name),
        proofsPath: join(dir, `${name}.proofs`),
        runnerKey: key,
        countersign: (epoch, { seq, hash }) =>
          identity.countersign({ context: "audit", run: "demo-1", epoch, at: seq, hash }),
      });
    const refused = { code: "bad_message" };

    await using file = await open("audit");
    await assert.rejects(file.append(2, second.record), refused);
    await file.append(1, first.record);
    await assert.rejects(file.append(3, third.record), refused);
    await assert.rejects(file.append(2, { ...second.record, epoch: 2 }), refused);
    await assert.rejects(file.append(2, { ...second.record, prev: "00".repeat(32) }), refused);
    assert.equal(await file.append(2, second.record), true);
    assert.equal(await file.append(2, { ...second.record, time: "2027-01-01T00:00:00Z" }), false);
    assert.equal(await file.append(3, third.record), true);
    await using other = await open("other", createSigningKey().publicKey);
    await assert.rejects(other.append(1, first.record), refused);

    assert.equal(file.head.seq, 3);
    const kept = await readFile(join(dir, "audit"), "utf8");
    assert.equal(hashOf(kept.trimEnd().split("\n")[2] ?? ""), file.head.hash);
  });
});
