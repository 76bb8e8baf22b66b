import assert from "node:assert/strict";
import { join } from "node:path";
import { suite, test } from "node:test";
import { decodeAlis, type AlisFrame } from "../helpers/alis-frames.ts";
import { verifyAsciicast } from "../../src/protocol/asciicast-verify.ts";
import { alisEvent, alisInit } from "../../src/manager/alis.ts";
import {
  api,
  CAST,
  CAST_EXIT,
  Peer,
  recorder,
  seedRun,
  ship,
  startManager,
  SUCCEEDED,
} from "./seed.ts";

suite("ALiS frames", () => {
  // The bytes that asciinema 3.1 sends, and those its own tests assert.
  const golden: [Buffer | null, string][] = [
    [alisInit({ timeUs: 0, cols: 80, rows: 24 }), "01000050180000"],
    [alisEvent({ id: 1, dtUs: 9949, code: "o", data: "hello\r\n" }), "6f01dd4d0768656c6c6f0d0a"],
    [
      alisEvent({ id: 2, dtUs: 203_222, code: "o", data: "│ box\r\n" }),
      "6f02d6b30c09e2948220626f780d0a",
    ],
    [alisEvent({ id: 3, dtUs: 1_004_344, code: "x", data: "3" }), "7803b8a63d03"],
    [alisEvent({ id: 1_000_000, dtUs: 250, code: "i", data: "x" }), "69c0843dfa010178"],
    [alisEvent({ id: 15, dtUs: 100, code: "r", data: "180x50" }), "720f64b40132"],
    [
      alisEvent({ id: 20, dtUs: 500, code: "m", data: "checkpoint" }),
      "6d14f4030a636865636b706f696e74",
    ],
  ];
  test("are those of asciinema", () => {
    for (const [frame, hex] of golden) assert.equal(frame?.toString("hex"), hex);
    assert.equal(alisEvent({ id: 1, dtUs: 0, code: "z", data: "" }), null);
  });
});

// Two sessions as asciinema 3.1 streamed them (`asciinema stream -r`), message by message, before its close 1000 "ended".
const STREAMED = [
  [
    "414c695301",
    "01000050180000",
    "6f01dd4d0768656c6c6f0d0a",
    "6f02d6b30c09e2948220626f780d0a",
    "7803b8a63d03",
  ],
  ["414c695301", "010000641e0000", "6f01a3120468690d0a", "7802f6d43d00"],
].map((messages) => messages.map((hex) => Buffer.from(hex, "hex")));

suite("what the asciinema CLI streams", () => {
  for (const [magic, first = Buffer.alloc(0), ...rest] of STREAMED) {
    const init = decodeAlis(first);
    assert.ok(init.kind === "init");
    const size = `${init.cols}x${init.rows}`;
    test(`at ${size}, kept as a recording, is valid and comes out of the live view as the same events`, async (t) => {
      const { cols, rows } = init;
      const { manager, dataDir } = await startManager(t);
      const run = await seedRun(manager, dataDir, { terminal: { cols, rows } });
      const { peer } = await recorder(manager, run);
      const sent = rest.map(decodeAlis).filter((frame) => frame.kind === "event");
      const lines = sent.map(
        ({ dtUs, code, data }) =>
          `[${(dtUs / 1e6).toFixed(6)}, "${code}", ${JSON.stringify(data)}]\n`,
      );
      const header = Buffer.from(`{"version":3,"term":{"cols":${cols},"rows":${rows}}}\n`);
      await ship(peer, 0, header);
      const viewer = new Peer(manager, `/v1/runs/${run.run}/live`, manager.token, ["v1.alis"]);
      const begun = [await viewer.next(), await viewer.next(), await viewer.next()] as Buffer[];

      await ship(peer, header.length, Buffer.from(lines.join("")));
      const shown: AlisFrame[] = [];
      while (shown.length < sent.length) shown.push(decodeAlis((await viewer.next()) as Buffer));

      assert.deepEqual(begun.slice(0, 2), [magic, first]);
      // The header is an event of its own to a viewer, so ids are one ahead.
      assert.deepEqual(
        shown,
        sent.map((frame) => ({ ...frame, id: frame.id + 1 })),
      );
      const cast = join(dataDir, "runs", run.run, "recording.cast");
      assert.deepEqual((await verifyAsciicast(cast)).problems, []);
    });
  }

  test("is refused by the reader where it is cut anywhere, or has more", () => {
    for (const frame of STREAMED.flatMap((messages) => messages.slice(1))) {
      for (let end = 1; end < frame.length; end += 1)
        assert.throws(() => decodeAlis(frame.subarray(0, end)), /^Error: Frame ends/);
      assert.throws(() => decodeAlis(Buffer.concat([frame, frame])), /more/);
    }
  });
});

suite("live view", () => {
  test("gives what was before at once, then what comes, then the end", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const { peer } = await recorder(manager, run);
    await ship(peer, 0, Buffer.from(CAST));

    const viewer = new Peer(manager, `/v1/runs/${run.run}/live`, manager.token, ["v1.alis"]);
    const past = [];
    for (let i = 0; i < 6; i += 1) past.push(((await viewer.next()) as Buffer).toString("hex"));
    await ship(peer, Buffer.byteLength(CAST), Buffer.from('[0.250, "o", "later"]\n'));
    const later = ((await viewer.next()) as Buffer).toString("hex");
    await api(manager, `/v1/runs/${run.run}/end`, {
      method: "POST",
      body: JSON.stringify({ end: SUCCEEDED, recording: null }),
    });
    const marker = (await viewer.next()) as Buffer;
    const end = (await viewer.next()) as Buffer;

    assert.equal(past[0], "414c695301");
    assert.equal(past[1], alisInit({ timeUs: 600_000, cols: 80, rows: 24 }).toString("hex"));
    assert.equal(
      past[3],
      alisEvent({ id: 2, dtUs: 0, code: "o", data: "hello from the agent\r\n" })?.toString("hex"),
    );
    assert.equal(
      past[4],
      alisEvent({ id: 3, dtUs: 0, code: "m", data: "tool: list" })?.toString("hex"),
    );
    assert.equal(
      later,
      alisEvent({ id: 5, dtUs: 250_000, code: "o", data: "later" })?.toString("hex"),
    );
    assert.equal(marker[0], 0x6d);
    assert.equal(end[0], 0x04);
    assert.deepEqual(await viewer.closed, { code: 4000, reason: "Session ended" });
  });

  test("speaks asciicast lines without comments to those who ask for it", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const { peer } = await recorder(manager, run);
    await ship(peer, 0, Buffer.from(CAST + CAST_EXIT));
    await api(manager, `/v1/runs/${run.run}/end`, {
      method: "POST",
      body: JSON.stringify({ end: SUCCEEDED, recording: null }),
    });

    const viewer = new Peer(manager, `/v1/runs/${run.run}/live`, manager.token, ["v3.asciicast"]);
    const { code } = await viewer.closed;
    const lines: unknown[] = [];
    for (let i = 0; i < 5; i += 1) lines.push(await viewer.next());

    assert.equal(code, 4000);
    assert.deepEqual(
      lines,
      (CAST + CAST_EXIT).split("\n").filter((line) => line !== "" && !line.startsWith("#")),
    );
  });

  test("misses nothing of a session over an outage of the manager", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const first = await recorder(manager, run);
    await ship(first.peer, 0, Buffer.from(CAST));
    const before = new Peer(manager, `/v1/runs/${run.run}/live`, manager.token, ["v1.alis"]);
    await before.next();
    await manager[Symbol.asyncDispose]();
    const { code } = await before.closed;
    let at = Buffer.byteLength(CAST);
    const ticks = (from: number) =>
      Array.from({ length: 300 }, (_, i) => `[0.010, "o", "tick ${from + i};"]\n`).join("");

    const next = await startManager(t, { dataDir });
    const second = await recorder(next.manager, run);
    await ship(second.peer, at, Buffer.from(ticks(0)));
    at = second.committed + Buffer.byteLength(ticks(0));
    const again = new Peer(next.manager, `/v1/runs/${run.run}/live`, next.manager.token, [
      "v1.alis",
    ]);
    await again.next();
    await ship(second.peer, at, Buffer.from(ticks(300)));
    let seen = "";
    while (!seen.includes("tick 599;")) seen += ((await again.next()) as Buffer).toString();
    again.socket.close();

    // Players connect again after any code below 4000.
    assert.equal(code, 1001);
    const missing = Array.from({ length: 600 }, (_, i) => i).filter(
      (i) => !seen.includes(`tick ${i};`),
    );
    assert.deepEqual(missing, []);
  });

  test("has room for a thousand viewers that never read, and goes on for everyone else", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const { peer } = await recorder(manager, run);
    await ship(peer, 0, Buffer.from(CAST));
    const mute: Peer[] = [];
    for (let i = 0; i < 1000; i += 1) {
      const viewer = new Peer(manager, `/v1/runs/${run.run}/live`, manager.token, ["v1.alis"]);
      viewer.socket.once("upgrade", (response) => response.socket.pause());
      mute.push(viewer);
      if (i % 50 === 49)
        await Promise.all(
          mute.slice(-50).map(
            async ({ socket }) =>
              await new Promise((resolve) => {
                if (socket.readyState === socket.CONNECTING) socket.once("open", resolve);
                else resolve(undefined);
              }),
          ),
        );
    }

    const line = Buffer.from(`[0.001, "o", "${"flood ".repeat(20_000)}"]\n`);
    let at = Buffer.byteLength(CAST);
    for (let i = 0; i < 3; i += 1) {
      await ship(peer, at, line);
      at += line.length;
    }
    const one = new Peer(manager, `/v1/runs/${run.run}/live`, manager.token, ["v1.alis"]);
    await one.next();
    const health = await api(manager, "/v1/health");

    assert.equal(health.status, 200);
    for (const { socket } of [...mute, one]) socket.terminate();
  });

  test("is refused to a client of another protocol", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);

    const viewer = new Peer(manager, `/v1/runs/${run.run}/live`, manager.token, ["raw"]);

    assert.equal((await viewer.closed).code, 1006);
  });

  test("closes a viewer that speaks, or says too much, with a reason, and counts it", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const { run } = await seedRun(manager, dataDir);
    const faces = [
      { face: "live", protocols: ["v1.alis"] },
      { face: "follow", protocols: [] },
      { face: "attach", protocols: [] },
    ];

    for (const { face, protocols } of faces) {
      const path = `/v1/runs/${run}/${face}`;
      const loud = new Peer(manager, path, manager.token, protocols);
      await loud.send(Buffer.alloc(2_000_000));
      const { code, reason } = await loud.closed;
      assert.deepEqual([code, reason], [1009, "The message is larger than is taken here"], face);
      const talker = new Peer(manager, path, manager.token, protocols);
      await talker.send({ kind: "words" });
      assert.equal((await talker.closed).code, 4400, face);
    }

    const metrics = await (await api(manager, "/metrics")).text();
    assert.match(metrics, /^agentkube_manager_refused_total\{reason="bad_message"\} 6$/m);
  });
});
