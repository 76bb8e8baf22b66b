import assert from "node:assert/strict";
import { readFile, truncate } from "node:fs/promises";
import type { Socket } from "node:net";
import { join } from "node:path";
import { suite, test } from "node:test";
import { createSigningKey } from "../../src/kit/signing.ts";
import { alisInit } from "../../src/manager/alis.ts";
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
    const lines = Array.from({ length: 400 }, (_, i) => `#${i} ${"x".repeat(i * 7)}\n`);
    lines.unshift(CAST);
    let offset = 0;

    for (const line of lines) {
      await peer.send(encodeAppend(offset, Buffer.from(line)));
      offset += Buffer.byteLength(line);
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
    const broken = encodeAppend(0, Buffer.from(CAST));
    broken.write("X", broken.length - 1);

    await first.peer.send(broken);
    const closed = await first.peer.closed;
    const again = await recorder(manager, run);
    await ship(again.peer, 0, Buffer.from(CAST));

    assert.equal(closed.code, 4400);
    assert.equal(again.committed, 0);
  });

  for (const [what, bytes, reason] of [
    ["garbage", Buffer.alloc(5000, 0xa5), /^Expected the header of an asciicast/],
    [
      "a header of 0x0",
      Buffer.from(CAST.replace('"cols":80,"rows":24', '"cols":0,"rows":0')),
      /^Expected the header of an asciicast v3, with a size of at least 1x1/,
    ],
    [
      "times that go backwards",
      Buffer.from(CAST.replace("[0.300", "[-0.300")),
      /^Expected a time that does not go backwards, got another at byte \d+$/,
    ],
  ] as const)
    test(`refuse ${what} with a code and a reason, count it, and disturb nobody else`, async (t) => {
      const { manager, dataDir } = await startManager(t);
      const [run, other] = [await seedRun(manager, dataDir), await seedRun(manager, dataDir)];
      const bad = await recorder(manager, run);
      const good = await recorder(manager, other);
      await ship(good.peer, 0, Buffer.from(CAST));

      await bad.peer.send(encodeAppend(0, bytes));
      const closed = await bad.peer.closed;
      await ship(good.peer, Buffer.byteLength(CAST), Buffer.from(CAST_EXIT));
      const again = await recorder(manager, run);
      await ship(again.peer, 0, Buffer.from(CAST));

      assert.equal(closed.code, 4400);
      assert.match(closed.reason, reason);
      assert.equal(again.committed, 0);
      const numbers = await (await api(manager, "/metrics")).text();
      assert.match(numbers, /^agentkube_manager_refused_total\{reason="bad_message"\} 1$/m);
    });

  test("of a terminal of 1x1 are taken: there are such terminals", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir, { terminal: { cols: 1, rows: 1 } });
    const { peer } = await recorder(manager, run);
    await ship(peer, 0, Buffer.from(CAST.replace('"cols":80,"rows":24', '"cols":1,"rows":1')));

    const viewer = new Peer(manager, `/v1/runs/${run.run}/live`, manager.token, ["v1.alis"]);
    await viewer.next();

    assert.deepEqual(await viewer.next(), alisInit({ timeUs: 600_000, cols: 1, rows: 1 }));
  });

  test("refuse a frame of 2 GB by its head, with a code and a reason, and count it", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const { peer, committed } = await recorder(manager, run);
    const { _socket: stream } = peer.socket as unknown as { _socket: Socket };

    // Final, binary, masked, 2^31 bytes to come; none of them does.
    stream.write(Buffer.from("82ff0000000080000000deadbeef", "hex"));
    const closed = await peer.closed;

    assert.deepEqual([closed.code, committed], [1009, 0]);
    assert.match(closed.reason, /larger than is taken/);
    const numbers = await (await api(manager, "/metrics")).text();
    assert.match(numbers, /^agentkube_manager_refused_total\{reason="bad_message"\} 1$/m);
    await ship((await recorder(manager, run)).peer, 0, Buffer.from(CAST));
  });

  test("drop an overlap that is the same, refuse one that is not, and say again what they have", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const first = await recorder(manager, run);
    const bytes = Buffer.from(CAST + CAST_EXIT);
    await ship(first.peer, 0, bytes.subarray(0, 100));

    await ship(first.peer, 50, bytes.subarray(50));
    await first.peer.send(encodeAppend(1000, Buffer.from("far")));
    const again = await first.peer.json();
    await first.peer.send(encodeAppend(0, Buffer.from("XX")));

    assert.deepEqual(again, { kind: "committed", bytes: bytes.length });
    assert.equal((await first.peer.closed).code, 4409);
    const path = join(dataDir, "runs", run.run, "recording.cast");
    assert.equal(await readFile(path, "utf8"), CAST + CAST_EXIT);
  });

  test("say mismatch with what the manager has, and go on", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const { peer } = await recorder(manager, run);
    const [part, whole] = [Buffer.from(CAST), Buffer.from(CAST + CAST_EXIT)];
    const end = { kind: "end", bytes: whole.length, sha256: sha256(whole) };
    await ship(peer, 0, part);

    await peer.send(end);
    const mismatch = await peer.until(({ kind }) => kind !== "committed");
    await ship(peer, part.length, whole.subarray(part.length));
    await peer.send(end);

    assert.deepEqual(mismatch, { kind: "mismatch", bytes: part.length, sha256: sha256(part) });
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
    await ship(second.peer, 0, Buffer.from(CAST));
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
    await ship(first.peer, 0, Buffer.from(CAST));
    await manager[Symbol.asyncDispose]();
    await truncate(join(dataDir, "runs", run.run, "recording.cast"), 4);

    const { manager: next } = await startManager(t, { dataDir });

    assert.equal((await recorder(next, run)).committed, 4);
  });
});
