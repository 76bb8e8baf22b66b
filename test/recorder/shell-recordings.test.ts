import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { suite, test } from "node:test";
import { until } from "../helpers/until.ts";
import { silentLog } from "../../src/kit/log.ts";
import { createSigningKey } from "../../src/kit/signing.ts";
import { encodeFrame } from "../../src/protocol/frames.ts";
import type { ProducerSeat } from "../../src/recorder/producer-seat.ts";
import { Redaction } from "../../src/recorder/redaction.ts";
import { ShellRecordings } from "../../src/recorder/shell-recordings.ts";
import { FailingFile } from "./helpers/failing-file.ts";
import { aRun } from "./helpers/run-spec.ts";
import { SmallManager } from "./helpers/small-manager.ts";

const grant = "00112233445566aa";
/** Opening syncs once, and the header is a write and a sync: the next write is that of the first output. */
const FIRST_OUTPUT = 3;

suite("the recording of a shell", () => {
  test("whose disk fails is not sealed: the spool stays, and the next producer goes on with it", async () => {
    await using manager = await new SmallManager().listen();
    await using run = await aRun({ managerUrl: manager.url });
    const disk = new FailingFile(FIRST_OUTPUT, "EIO", false);
    const { spec, boot } = run;
    const context = { spec, boot, log: silentLog, redaction: new Redaction([]) };
    await using shells = new ShellRecordings(
      { ...context, key: createSigningKey() },
      new AbortController().signal,
      disk.open,
    );
    const spool = join(spec.spoolDir, `shell-${grant}`, "recording.cast");
    const words = Buffer.from("what the shell said");
    const output = encodeFrame({ type: "output", seq: 1, timeUs: 1000, offset: 0, bytes: words });

    const first = await shells.seatOf(grant);
    await until("the header at the manager", () => manager.committed > 0);
    using failing = await serve(first, run.dir);
    failing.socket.write(output);
    await until("a closed connection", () => failing.socket.destroyed);

    assert.equal(manager.verdict, null);
    assert.ok(existsSync(spool), "the spool is gone, and nobody has what it lacks");

    let again = await shells.seatOf(grant);
    while (again === first) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      again = await shells.seatOf(grant);
    }
    using working = await serve(again, run.dir);
    working.socket.write(output);
    working.socket.write(encodeFrame({ type: "exit", seq: 2, timeUs: 2000, status: 0 }));
    await until("a verdict", () => manager.verdict !== null);
    await until("a removed spool", () => !existsSync(spool));

    assert.equal(manager.verdict, "verified");
    assert.ok(manager.bytes.includes(words));
  });
});

/** A connection to this seat, as the frame socket hands it over. */
async function serve(
  seat: ProducerSeat | null,
  dir: string,
): Promise<{ socket: Socket } & Disposable> {
  assert.ok(seat !== null, "the shell is refused");
  const server = createServer((socket) => {
    void seat.serve(socket).catch(() => socket.destroy());
  });
  const path = join(dir, "seat.sock");
  server.listen(path);
  await once(server, "listening");
  const socket = connect({ path });
  socket.on("error", () => undefined);
  socket.resume();
  await once(socket, "connect");
  server.close();
  return { socket, [Symbol.dispose]: () => socket.destroy() };
}
