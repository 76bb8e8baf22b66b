import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";
import { Screen } from "../../src/kit/screen.ts";
import type { Manager } from "../../src/manager/manager.ts";
import { buildReplayIndex } from "../../src/manager/build-replay-index.ts";
import type { RecordedSession } from "../../src/manager/recorded-session.ts";
import { Replays } from "../../src/manager/replays.ts";
import { indexPathOf, readReplayIndex } from "../../src/manager/replay-index.ts";
import { silentLog, type Log } from "../../src/kit/log.ts";
import { alisInit } from "../../src/manager/alis.ts";
import {
  api,
  Peer,
  recorder,
  seedRun,
  ship,
  startManager,
  SUCCEEDED,
  temporaryDir,
} from "./seed.ts";
import { aLongRecording } from "./long-recording.ts";

interface Segment {
  snapshot: { cols: number; rows: number; init: string };
  events: [number, string, string][];
}
interface Index {
  duration: number;
  markers: [number, string][];
  segments: { start: number; url: string }[];
}

async function get<T>(manager: Manager, path: string): Promise<T> {
  const answer = await api(manager, path);
  assert.equal(answer.status, 200, path);
  return (await answer.json()) as T;
}

/** A session with this recording, ended or live. */
async function seedRecording(t: TestContext, bytes: Buffer, ended = true) {
  const { manager, dataDir } = await startManager(t);
  const seed = await seedRun(manager, dataDir);
  const { peer } = await recorder(manager, seed);
  for (let at = 0; at < bytes.length; at += 200_000)
    await ship(peer, at, bytes.subarray(at, at + 200_000));
  if (ended)
    await api(manager, `/v1/runs/${seed.run}/end`, {
      method: "POST",
      body: JSON.stringify({ end: SUCCEEDED, recording: null }),
    });
  const index = join(dataDir, "runs", seed.run, "recording.index.jsonl");
  return { manager, peer, run: seed.run, index };
}

/** The plan of a session, once it is made. */
async function planOf(manager: Manager, run: string): Promise<Record<string, unknown>> {
  for (;;) {
    const plan = await get<Record<string, unknown>>(manager, `/v1/runs/${run}/replay`);
    if (plan["kind"] !== "preparing") return plan;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function gridOf(size: { cols: number; rows: number }, parts: string[]): Promise<string> {
  using screen = new Screen(size, 0);
  await new Promise<void>((resolve) => screen.write(parts.join(""), resolve));
  return screen.text();
}

suite("replay of a long session", () => {
  test("is cut into segments that hold every event once, each beginning with the screen of that moment", async (t) => {
    const cast = aLongRecording(6 * 1024 * 1024);
    const { manager, run } = await seedRecording(t, cast.bytes);

    const plan = await planOf(manager, run);
    const index = await get<Index>(manager, `/v1/runs/${run}/replay.json`);
    const segments: Segment[] = [];
    for (const { url } of index.segments)
      segments.push(await get<Segment>(manager, `/v1/runs/${run}/${url}`));

    assert.equal(plan["kind"], "segments");
    assert.ok(segments.length >= 10, `${segments.length} segments`);
    const events = segments.flatMap((segment) => segment.events);
    // The manager's own marker, of a recording that nobody proved, is the last one.
    assert.deepEqual(
      events.slice(0, -1).map(([, code, data]) => [code, data]),
      cast.events.map(([, code, data]) => [code, data]),
    );
    assert.deepEqual(
      events.slice(0, -1).map(([seconds]) => Math.round(seconds * 1000)),
      cast.events.map(([ms]) => ms),
    );
    assert.equal(index.duration, events.at(-1)?.[0]);
    for (const [number, segment] of segments.entries())
      if (number > 0) assert.equal(segment.events[0]?.[0], index.segments[number]?.start);
    const shown: string[] = [];
    for (const { snapshot, events: own } of segments) {
      const size = { cols: snapshot.cols, rows: snapshot.rows };
      assert.equal(
        await gridOf(size, [snapshot.init]),
        await gridOf(size, [shown.join("").slice(-2_000_000)]),
      );
      for (const [, code, data] of own) if (code === "o") shown.push(data);
    }
    assert.deepEqual(
      index.markers.slice(0, -1).map(([, label]) => label),
      cast.events.filter(([, code]) => code === "m").map(([, , label]) => label),
    );
  });

  test("has an index that comes back the same when it is removed, cut off or damaged", async (t) => {
    const cast = aLongRecording(5 * 1024 * 1024);
    const { manager, run, index } = await seedRecording(t, cast.bytes);
    await planOf(manager, run);
    const first = await readFile(index, "utf8");

    for (const spoil of [
      async () => await rm(index),
      async () => await writeFile(index, first.slice(0, first.length / 2)),
      async () => await writeFile(index, `{"kind":"garbage"}\n${first}`),
    ]) {
      await spoil();
      const dataDir = index.slice(0, index.indexOf("/runs/"));
      await manager[Symbol.asyncDispose]();
      const next = await startManager(t, { dataDir });
      await planOf(next.manager, run);
      assert.equal(await readFile(index, "utf8"), first);
      await next.manager[Symbol.asyncDispose]();
    }
  });

  test("never shows a torn last line", async (t) => {
    const cast = aLongRecording(5 * 1024 * 1024);
    const { manager, run } = await seedRecording(
      t,
      Buffer.concat([cast.bytes, Buffer.from('[1.000, "o", "torn')]),
      false,
    );

    await planOf(manager, run);
    const index = await get<Index>(manager, `/v1/runs/${run}/replay.json`);
    const last = await get<Segment>(manager, `/v1/runs/${run}/${index.segments.at(-1)?.url ?? ""}`);

    assert.equal(last.events.at(-1)?.[2], cast.events.at(-1)?.[2]);
    assert.equal((await api(manager, `/v1/runs/${run}/replay/9999.json`)).status, 404);
  });
});

suite("replay", () => {
  test("of a session that shows nothing yet is refused as documented, and no thread is started for it twice", async (t) => {
    const made: string[] = [];
    const log = { ...silentLog, info: (_: unknown, text: string) => void made.push(text) } as Log;
    log.child = () => log;
    const { manager, dataDir } = await startManager(t, { log });
    const nothing = await seedRun(manager, dataDir);
    const header = await seedRun(manager, dataDir);
    const { peer } = await recorder(manager, header);
    await ship(peer, 0, Buffer.from('{"version":3,"term":{"cols":80,"rows":24}}\n'));

    for (const run of [nothing.run, header.run, header.run])
      for (const path of ["replay", "replay.json", "replay/0.json"]) {
        const answer = await api(manager, `/v1/runs/${run}/${path}`);
        const { error } = (await answer.json()) as { error: { code: string } };
        assert.deepEqual([answer.status, error.code], [404, "no_replay"], path);
      }

    assert.equal(made.filter((text) => text === "replay index made").length, 1);
  });

  test("keeps in memory the indexes that are looked at, not those that came last", async (t) => {
    const dir = await temporaryDir(t);
    const made: string[] = [];
    const info = ({ path }: { path: string }): void => void made.push(path);
    await using replays = new Replays({ ...silentLog, info } as unknown as Log);
    const text = '{"version":3,"term":{"cols":80,"rows":24}}\n[0.001, "o", "seen"]\n';
    const sessions = await Promise.all(
      Array.from({ length: 9 }, async (_, number) => {
        const recordingPath = join(dir, `${number}.cast`);
        await writeFile(recordingPath, text);
        return { session: `run-${number}`, recordingPath, committedBytes: text.length };
      }),
    );
    const look = async (number: number): Promise<unknown> =>
      await replays.whole(sessions[number] as unknown as RecordedSession);

    for (const number of [0, 1, 2, 3, 4, 5, 6, 7, 0, 8]) await look(number);
    // What is made again after its file was removed was not in memory.
    for (const number of [0, 1]) await rm(join(dir, `${number}.index.jsonl`));
    made.length = 0;
    for (const number of [0, 1]) await look(number);

    assert.deepEqual(made, [join(dir, "1.cast")]);
  });

  test("has bounded segments also when a sequence never ends, and shows none of its text", async (t) => {
    const path = join(await temporaryDir(t), "recording.cast");
    const line = `[0.001, "o", "${"a b c d ".repeat(500)}"]\n`;
    const start = '{"version":3,"term":{"cols":80,"rows":24}}\n[0.001, "o", "seen\\u001b]0;"]\n';
    const text = start + line.repeat(2500) + '[0.001, "o", "\\u0007after"]\n';
    await writeFile(path, text);

    await buildReplayIndex(path, text.length, () => undefined);

    const { segments = [] } = (await readReplayIndex(indexPathOf(path))) ?? {};
    const starts = [...segments.map(({ offset }) => offset), text.length];
    for (const [index, { offset }] of segments.entries())
      assert.ok((starts[index + 1] ?? 0) - offset < 4.5 * 1024 * 1024);
    const last = segments.at(-1);
    assert.ok(last !== undefined && segments.length > 2);
    const rest = text.slice(last.offset).split("\n").slice(0, -1);
    const shown = rest.map((event) => (JSON.parse(event) as [number, string, string])[2]);
    const grid = await gridOf({ cols: 80, rows: 24 }, [last.screen, ...shown]);
    assert.equal(grid, "seenafter\u001b[1;9Hr");
  });
});

suite("live view of a long session", () => {
  test("begins with the screen as it is, not with all that was before", async (t) => {
    const cast = aLongRecording(5 * 1024 * 1024);
    const { manager, run, peer } = await seedRecording(t, cast.bytes, false);

    const viewer = new Peer(manager, `/v1/runs/${run}/live`, manager.token, ["v1.alis"]);
    const frames: Buffer[] = [];
    for (let bytes = 0; frames.filter((frame) => frame[0] === 0x01).length < 2;) {
      frames.push((await viewer.next()) as Buffer);
      bytes += frames.at(-1)?.length ?? 0;
      assert.ok(bytes < 1024 * 1024);
    }
    await ship(peer, cast.bytes.length, Buffer.from('[0.250, "o", "later than all"]\n'));
    let sent = 0;
    for (;;) {
      const frame = (await viewer.next()) as Buffer;
      sent += frame.length;
      if (frame.includes("later than all")) break;
    }
    viewer.socket.close();

    assert.equal(frames[0]?.toString("hex"), "414c695301");
    assert.match(frames[1]?.toString() ?? "", /being worked out/);
    assert.ok(sent < 2 * 1024 * 1024, `${sent} bytes for one screen`);
  });

  test("gives a viewer that fell behind the screen as it is then, and goes on from there", async (t) => {
    const first = aLongRecording(64 * 1024);
    const { manager, run, peer } = await seedRecording(t, first.bytes, false);
    const viewer = new Peer(manager, `/v1/runs/${run}/live`, manager.token, ["v1.alis"]);
    await viewer.next();
    const slow = viewer.socket as unknown as { _socket: { pause(): void; resume(): void } };
    slow._socket.pause();

    const flood = aLongRecording(24 * 1024 * 1024).lines;
    let at = first.bytes.length;
    for (let from = 0; from < flood.length; from += 200_000) {
      const piece = flood.subarray(from, from + 200_000);
      await ship(peer, at, piece);
      at += piece.length;
    }
    slow._socket.resume();
    await ship(peer, at, Buffer.from('\n[0.250, "o", "the very last"]\n'));
    const resets: Buffer[] = [];
    let bytes = 0;
    for (;;) {
      const frame = (await viewer.next()) as Buffer;
      bytes += frame.length;
      if (frame[0] === 0x01) resets.push(frame);
      if (frame.includes("the very last")) break;
    }
    viewer.socket.close();

    assert.ok(resets.length >= 2, `${resets.length} screens`);
    assert.ok(bytes < 20 * 1024 * 1024, `${bytes} bytes of a flood of 24 MiB`);
    assert.equal(alisInit({ timeUs: 0, cols: 1, rows: 1 })[0], resets.at(-1)?.[0]);
  });
});
