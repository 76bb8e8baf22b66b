import assert from "node:assert/strict";
import { readFile, truncate } from "node:fs/promises";
import { join } from "node:path";
import { suite, test } from "node:test";
import { createSigningKey } from "../../src/kit/signing.ts";
import { encodeAppend } from "../../src/protocol/recording-link.ts";
import { FIRST_PREVIOUS, signCheckpoint } from "../../src/protocol/recording-proof.ts";
import {
  api,
  CAST,
  CAST_EXIT,
  Peer,
  recorder,
  seedRun,
  sha256,
  ship,
  startManager,
  SUCCEEDED,
} from "./seed.ts";

suite("recordings", () => {
  test("are committed by offset, verified by hash, and served", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const bytes = Buffer.from(CAST + CAST_EXIT);
    const { peer, committed } = await recorder(manager, run);

    await ship(peer, committed, bytes.subarray(0, 100));
    await ship(peer, 100, bytes.subarray(100));
    await peer.send({ kind: "end", bytes: bytes.length, sha256: sha256(bytes) });

    const verified = await peer.until(({ kind }) => kind !== "committed");
    assert.deepEqual(verified, { kind: "verified", bytes: bytes.length, sha256: sha256(bytes) });
    const served = await api(manager, `/v1/runs/${run.run}/recording.cast`);
    assert.equal(await served.text(), CAST + CAST_EXIT);
    const ended = await api(manager, `/v1/runs/${run.run}/end`, {
      method: "POST",
      body: JSON.stringify({ end: SUCCEEDED, recording: null }),
    });
    const info = (await ended.json()) as { phase: string; recording: object };
    assert.equal(info.phase, "ended");
    assert.deepEqual(info.recording, {
      bytes: bytes.length,
      sha256: sha256(bytes),
      verified: true,
      path: join(dataDir, "runs", run.run, "recording.cast"),
    });
  });

  test("take many appends in flight and lose none", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const { peer } = await recorder(manager, run);
    const lines = Array.from({ length: 400 }, (_, i) => `${i} ${"x".repeat(i * 7)}\n`);
    let offset = 0;

    for (const line of lines) {
      await peer.send(encodeAppend(offset, Buffer.from(line)));
      offset += line.length;
    }

    await peer.until(({ kind, bytes }) => kind === "committed" && bytes === offset);
    const path = join(dataDir, "runs", run.run, "recording.cast");
    assert.equal(await readFile(path, "utf8"), lines.join(""));
  });

  test("are closed to a wrong token, another run's token, and a session that is a path", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const other = await seedRun(manager, dataDir);
    const cases: [path: string, token: string][] = [
      [run.run, "x".repeat(64)],
      [run.run, other.tokens.recorder],
      [run.run, run.tokens.agentlet],
      ["..%2f..%2fetc", run.tokens.recorder],
      [`${run.run}%2f..%2f${run.run}`, run.tokens.recorder],
    ];

    const closes = await Promise.all(
      cases.map(async ([session, token]) => {
        const peer = new Peer(manager, `/v1/recordings/${session}`, token);
        return await peer.closed;
      }),
    );

    // A path is refused before there is a WebSocket, by an HTTP status.
    assert.deepEqual(
      closes.map(({ code }) => code),
      [4401, 4401, 4401, 1006, 1006],
    );
    assert.match(closes[1]?.reason ?? "", /Expected the recorder token of this run/);
    const numbers = await (await api(manager, "/metrics")).text();
    assert.match(numbers, /^agentkube_manager_refused_total\{reason="unauthorized"\} 5$/m);
    const { committed } = await recorder(manager, run);
    assert.equal(committed, 0);
  });

  test("refuse bytes that are not those that were sent, and take them when they come whole", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const first = await recorder(manager, run);
    const broken = encodeAppend(0, Buffer.from("0123456789"));
    broken.write("X", broken.length - 1);

    await first.peer.send(broken);
    const closed = await first.peer.closed;
    const again = await recorder(manager, run);
    await ship(again.peer, 0, Buffer.from("0123456789"));

    assert.equal(closed.code, 4400);
    assert.equal(again.committed, 0);
  });

  test("drop an overlap that is the same, refuse one that is not, and say again what they have", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const first = await recorder(manager, run);
    await ship(first.peer, 0, Buffer.from("0123456789"));

    await ship(first.peer, 5, Buffer.from("56789abc"));
    await first.peer.send(encodeAppend(100, Buffer.from("far")));
    const again = await first.peer.json();
    await first.peer.send(encodeAppend(0, Buffer.from("XX")));

    assert.deepEqual(again, { kind: "committed", bytes: 13 });
    assert.equal((await first.peer.closed).code, 4409);
    const path = join(dataDir, "runs", run.run, "recording.cast");
    assert.equal(await readFile(path, "utf8"), "0123456789abc");
  });

  test("say mismatch with what the manager has, and go on", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const { peer } = await recorder(manager, run);
    await ship(peer, 0, Buffer.from("abc"));

    await peer.send({ kind: "end", bytes: 4, sha256: sha256("abcd") });
    const mismatch = await peer.until(({ kind }) => kind !== "committed");
    await ship(peer, 3, Buffer.from("d"));
    await peer.send({ kind: "end", bytes: 4, sha256: sha256("abcd") });

    assert.deepEqual(mismatch, { kind: "mismatch", bytes: 3, sha256: sha256("abc") });
    const verified = await peer.until(({ kind }) => kind !== "committed");
    assert.equal(verified["kind"], "verified");
  });

  test("fence an older epoch and replace an older connection", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const first = await recorder(manager, run, 2);

    const second = await recorder(manager, run, 2);
    const old = new Peer(manager, `/v1/recordings/${run.run}`, run.tokens.recorder);
    await old.send({ kind: "hello", protocol: 1, epoch: 1, bytes: 0 });

    assert.equal((await first.peer.closed).code, 4409);
    assert.equal((await old.closed).code, 4409);
    await ship(second.peer, 0, Buffer.from("still here"));
  });

  test("refuse another role's token, another protocol, and messages that make no sense", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const path = `/v1/recordings/${run.run}`;

    const foreign = new Peer(manager, path, run.tokens.agentlet);
    const future = new Peer(manager, path, run.tokens.recorder);
    await future.send({ kind: "hello", protocol: 99, epoch: 1, bytes: 0 });
    const garbage = new Peer(manager, path, run.tokens.recorder);
    await garbage.send({ kind: "hallo" });
    const early = new Peer(manager, path, run.tokens.recorder);
    await early.send(encodeAppend(0, Buffer.from("x")));

    assert.equal((await foreign.closed).code, 4401);
    const closed = await future.closed;
    assert.equal(closed.code, 4426);
    assert.match(closed.reason, /protocol 99.*protocol 1/);
    assert.equal((await garbage.closed).code, 4400);
    assert.equal((await early.closed).code, 4400);
    const numbers = await (await api(manager, "/metrics")).text();
    assert.match(numbers, /^agentkube_manager_refused_total\{reason="bad_message"\} 2$/m);
  });

  test("close the link of a recorder that vouches for bytes it never sent; the run ends all the same", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const seed = await seedRun(manager, dataDir);
    const { peer } = await recorder(manager, seed);
    const signed = signCheckpoint(
      {
        session: seed.run,
        epoch: 1,
        n: 0,
        bytes: 1e12,
        sha256: sha256(""),
        previous: FIRST_PREVIOUS,
        set: 1,
        masked: 0,
        gaps: 0,
        end: false,
        time: new Date(0).toISOString(),
      },
      createSigningKey(),
    );
    await peer.send({ kind: "checkpoint", ...signed });
    await peer.send({ kind: "end", bytes: 0, sha256: sha256("") });

    const end = await api(manager, `/v1/runs/${seed.run}/end`, {
      method: "POST",
      body: JSON.stringify({ end: SUCCEEDED, recording: null }),
      signal: AbortSignal.timeout(10_000),
    });

    assert.equal(end.status, 200);
    assert.deepEqual(await peer.closed, {
      code: 4400,
      reason: "Expected a checkpoint of at most the 0 bytes that came, got 1000000000000",
    });
    const metrics = await (await api(manager, "/metrics")).text();
    assert.match(metrics, /^agentkube_manager_refused_total\{reason="bad_message"\} 1$/m);
  });

  test("go on at the same offset after the manager was started again", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const bytes = Buffer.from(CAST + CAST_EXIT);
    const first = await recorder(manager, run);
    await ship(first.peer, 0, bytes.subarray(0, 150));

    await manager[Symbol.asyncDispose]();
    const { manager: next } = await startManager(t, { dataDir });
    const { peer, committed } = await recorder(next, run);

    assert.equal((await first.peer.closed).code, 4503);
    assert.equal(next.url, manager.url);
    assert.equal(next.token, manager.token);
    assert.equal(committed, 150);
    await ship(peer, 150, bytes.subarray(150));
    await peer.send({ kind: "end", bytes: bytes.length, sha256: sha256(bytes) });
    const verified = await peer.until(({ kind }) => kind !== "committed");
    assert.equal(verified["kind"], "verified");
  });

  test("never serve a torn last line", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const { peer } = await recorder(manager, run);
    await ship(peer, 0, Buffer.from(`${CAST}[0.5, "o", "half`));

    const served = await api(manager, `/v1/runs/${run.run}/recording.cast`);

    assert.equal(await served.text(), CAST);
  });

  test("count as committed what is in the file, even when it is shorter than before", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const first = await recorder(manager, run);
    await ship(first.peer, 0, Buffer.from("0123456789"));
    await manager[Symbol.asyncDispose]();
    await truncate(join(dataDir, "runs", run.run, "recording.cast"), 4);

    const { manager: next } = await startManager(t, { dataDir });

    assert.equal((await recorder(next, run)).committed, 4);
  });
});
