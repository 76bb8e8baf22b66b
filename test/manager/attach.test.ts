import assert from "node:assert/strict";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { until } from "../helpers/until.ts";
import { agentlet, api, Peer, seedRun, startManager, SUCCEEDED } from "./seed.ts";

function output(attach: string, offset: number, bytes: Buffer): Buffer {
  const head = Buffer.alloc(16);
  head.write(attach, "hex");
  head.writeBigUInt64LE(BigInt(offset), 8);
  return Buffer.concat([head, bytes]);
}

async function opened(
  link: Peer,
): Promise<{ attach: string; fromOffset: number | null; write: boolean }> {
  const message = await link.until(({ kind }) => kind === "attach_open");
  return message as unknown as { attach: string; fromOffset: number | null; write: boolean };
}

suite("attach", () => {
  test("relays snapshot, output, input and size", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const link = await agentlet(manager, run);
    const person = new Peer(manager, `/v1/runs/${run.run}/attach?write=1`, manager.token);
    const { attach, fromOffset, write } = await opened(link);

    await link.send({
      kind: "attach_snapshot",
      attach,
      offset: 5,
      cols: 80,
      rows: 24,
      data: "screen",
    });
    await link.send(output(attach, 5, Buffer.from("more")));
    const snapshot = await person.until(({ kind }) => kind === "snapshot");
    const bytes = (await person.next()) as Buffer;
    await person.send(Buffer.from("ls\r"));
    await person.send({ kind: "resize", cols: 100, rows: 30 });
    const input = await link.until(({ kind }) => kind === "attach_input");
    const resize = await link.until(({ kind }) => kind === "attach_resize");

    assert.deepEqual({ fromOffset, write }, { fromOffset: null, write: true });
    assert.deepEqual(snapshot, { kind: "snapshot", offset: 5, cols: 80, rows: 24, data: "screen" });
    assert.equal(bytes.readBigUInt64LE(0), 5n);
    assert.equal(bytes.subarray(8).toString(), "more");
    assert.equal(Buffer.from(input["data"] as string, "base64").toString(), "ls\r");
    assert.deepEqual(resize, { kind: "attach_resize", attach, cols: 100, rows: 30 });
    person.socket.close();
    const left = await link.until(({ kind }) => kind === "attach_close");
    assert.equal(left["attach"], attach);
  });

  test("reads from a person only as fast as the program takes what they type, and says what a lost connection may have cost", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const link = await agentlet(manager, run);
    const person = new Peer(manager, `/v1/runs/${run.run}/attach?write=1`, manager.token);
    const { attach } = await opened(link);
    const piece = Buffer.alloc(64 * 1024, "p");
    let arrived = 0;
    link.socket.on("message", (data: Buffer) => {
      if (data.toString("latin1", 0, 24).includes("attach_input")) arrived += piece.length;
    });

    for (let sent = 0; sent < 48; sent += 1) person.socket.send(piece);
    await timers.setTimeout(500);
    const before = arrived;
    await link.send({ kind: "attach_taken", attach, bytes: before });
    await until("more has arrived", () => arrived > before);
    await timers.setTimeout(300);
    const after = arrived - before;
    let taken = before;
    while (arrived < 48 * piece.length) {
      await link.send({ kind: "attach_taken", attach, bytes: arrived - taken });
      taken = arrived;
      await timers.setTimeout(5);
    }
    link.socket.terminate();
    const lost = await person.until(
      ({ kind, message }) => kind === "waiting" && String(message).startsWith("Not delivered"),
    );

    assert.ok(before <= 512 * 1024 && after <= 512 * 1024, `${before} and ${after} bytes`);
    assert.match(String(lost["message"]), /bytes that were on their way/);
    person.socket.close();
  });

  test("goes on from the last byte when the agentlet connects again", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const person = new Peer(manager, `/v1/runs/${run.run}/attach`, manager.token);
    const waiting = await person.json();
    const first = await agentlet(manager, run);
    const { attach } = await opened(first);
    await first.send({ kind: "attach_snapshot", attach, offset: 0, cols: 80, rows: 24, data: "" });
    await first.send(output(attach, 0, Buffer.from("0123456789")));
    await person.until(({ kind }) => kind === "snapshot");
    await person.next();
    first.socket.terminate();
    await person.until(({ kind }) => kind === "waiting");

    const second = await agentlet(manager, run);
    const again = await opened(second);
    await second.send({
      kind: "attach_snapshot",
      attach: again.attach,
      offset: 10,
      cols: 80,
      rows: 24,
      data: "",
    });
    await second.send(output(again.attach, 10, Buffer.from("ab")));
    const bytes = (await person.next()) as Buffer;

    assert.equal(waiting["kind"], "waiting");
    assert.equal(again.fromOffset, 10);
    assert.equal(bytes.subarray(8).toString(), "ab");
  });

  test("asks for a new snapshot for a window that is too slow", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const link = await agentlet(manager, run);
    const person = new Peer(manager, `/v1/runs/${run.run}/attach`, manager.token);
    const { attach } = await opened(link);
    await link.send({ kind: "attach_snapshot", attach, offset: 0, cols: 80, rows: 24, data: "x" });
    await person.until(({ kind }) => kind === "snapshot");
    person.socket.pause();
    const block = Buffer.alloc(1024 * 1024, "y");

    for (let i = 0; i < 24; i += 1) await link.send(output(attach, i * block.length, block));
    const closed = await link.until(({ kind }) => kind === "attach_close");
    person.socket.resume();
    const again = await opened(link);

    assert.equal(closed["attach"], attach);
    assert.notEqual(again.attach, attach);
    assert.equal(again.fromOffset, null);
  });

  test("hears what is typed in a window that is too slow, shows it nothing before its new screen, and asks for no history again", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const link = await agentlet(manager, run);
    const person = new Peer(
      manager,
      `/v1/runs/${run.run}/attach?write=1&history=5000`,
      manager.token,
    );
    const first = await opened(link);
    const snapshot = { kind: "attach_snapshot", offset: 0, cols: 80, rows: 24, data: "x" };
    await link.send({ ...snapshot, attach: first.attach });
    await person.until(({ kind }) => kind === "snapshot");
    person.socket.pause();
    const block = Buffer.alloc(1024 * 1024, "y");
    for (let i = 0; i < 24; i += 1) await link.send(output(first.attach, i * block.length, block));
    await link.until(({ kind }) => kind === "attach_close");

    await person.send(Buffer.from("\x03"));
    const between = await opened(link);
    const typed = await link.until(({ kind }) => kind === "attach_input");
    await link.send({ ...snapshot, attach: between.attach, data: "not for a slow window" });
    person.socket.resume();
    const again = await opened(link);
    await link.send(output(again.attach, 99, Buffer.from("of a stream that was dropped")));
    await link.send({ ...snapshot, attach: again.attach, offset: 100, data: "new screen" });

    assert.equal(typed["attach"], between.attach);
    assert.equal(Buffer.from(typed["data"] as string, "base64").toString(), "\x03");
    let next = await person.next();
    while (Buffer.isBuffer(next) && next.subarray(8).equals(block)) next = await person.next();
    assert.match(String(next), /"data":"new screen"/);
    assert.deepEqual(
      [first, between, again].map((open) => (open as { historyRows?: number }).historyRows),
      [5000, undefined, undefined],
    );
  });

  test("tells people how a run ended", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const person = new Peer(manager, `/v1/runs/${run.run}/attach`, manager.token);
    await person.json();

    await api(manager, `/v1/runs/${run.run}/end`, {
      method: "POST",
      body: JSON.stringify({ end: SUCCEEDED, recording: null }),
    });

    const ended = await person.until(({ kind }) => kind === "ended");
    assert.equal(ended["reason"], "Run succeeded: exited");
    assert.equal((await person.closed).code, 1000);
  });

  test("refuses to write where nobody may", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir, { interactive: false });

    const person = new Peer(manager, `/v1/runs/${run.run}/attach?write=1`, manager.token);

    assert.equal((await person.closed).code, 1006);
    await assert.rejects(person.next());
  });

  test("refuses what it cannot read before it becomes a WebSocket", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const { run } = await seedRun(manager, dataDir);
    const refused = async (query: string): Promise<number | undefined> => {
      const { socket } = new Peer(manager, `/v1/runs/${run}/attach?${query}`, manager.token);
      return await new Promise((resolve, reject) => {
        socket.once("unexpected-response", (_request, { statusCode }) => {
          socket.terminate();
          resolve(statusCode);
        });
        socket.once("open", () => reject(new Error(`${query} is taken`)));
      });
    };

    for (const query of ["history=5001", "history=abc", "from=-1", "write=true", "write=2"])
      assert.equal(await refused(query), 400, query);
  });
});
