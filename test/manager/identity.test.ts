import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite, test } from "node:test";
import { openIdentity } from "../../src/manager/identity.ts";
import { Health } from "../../src/protocol/manager-api.ts";
import { isCountersigned } from "../../src/protocol/countersignature.ts";
import { api, seedRun, startManager, temporaryDir } from "./seed.ts";

const STATEMENT = {
  context: "audit",
  run: "demo-1",
  epoch: 2,
  at: 17,
  hash: "ab".repeat(32),
} as const;

suite("the manager's key", () => {
  test("is made once, readable by its owner only, and is the same after a restart", async (t) => {
    const dir = await temporaryDir(t);

    const first = await openIdentity(dir);
    const second = await openIdentity(dir);

    assert.equal(second.publicKey, first.publicKey);
    assert.equal((await stat(join(dir, "manager-key.json"))).mode & 0o777, 0o600);
  });

  test("signs a statement that holds for these fields and no other", async (t) => {
    const identity = await openIdentity(await temporaryDir(t));
    const stranger = await openIdentity(await temporaryDir(t));

    const signed = identity.countersign(STATEMENT);

    assert.equal(isCountersigned(signed, identity.publicKey), true);
    assert.equal(isCountersigned(signed, stranger.publicKey), false);
    for (const change of [
      { context: "recording" as const },
      { run: "demo-2" },
      { epoch: 3 },
      { at: 16 },
      { hash: "ac".repeat(32) },
      { time: "2026-01-01T00:00:00.000Z" },
    ])
      assert.equal(isCountersigned({ ...signed, ...change }, identity.publicKey), false);
  });

  test("a broken key file is refused, not replaced", async (t) => {
    const dir = await temporaryDir(t);
    await openIdentity(dir);
    const path = join(dir, "manager-key.json");
    const text = await readFile(path, "utf8");
    await writeFile(path, text.slice(0, 40));

    await assert.rejects(openIdentity(dir), { code: "identity_unusable", path });
    assert.equal(await readFile(path, "utf8"), text.slice(0, 40));
  });

  test("its public half is in the API and in every run.json, its secret half in neither", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const { run } = await seedRun(manager, dataDir);

    const health = Health.parse(await (await api(manager, "/v1/health")).json());
    const runFile = await readFile(join(dataDir, "runs", run, "run.json"), "utf8");
    const { seed, publicKey } = JSON.parse(
      await readFile(join(dataDir, "manager-key.json"), "utf8"),
    ) as Record<string, string>;

    assert.equal(health.key, publicKey);
    assert.equal((JSON.parse(runFile) as Record<string, string>)["managerKey"], publicKey);
    assert.ok(!runFile.includes(seed ?? ""));
  });
});
