import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { once } from "node:events";
import { suite, test, type TestContext } from "node:test";
import { atEnd } from "../helpers/at-end.ts";
import { silentLog } from "../../src/kit/log.ts";
import { isProven, Proof } from "../../src/protocol/proof.ts";
import { Markers } from "../../src/tool-runner/markers.ts";
import { temporaryDirectory } from "./support.ts";

const NONCE = "ab".repeat(32);

/** A recorder's marker socket: takes the proof, keeps labels. */
async function aRecorder(context: TestContext): Promise<{
  path: string;
  labels: string[];
  sockets: Socket[];
  labelled(count: number): Promise<void>;
}> {
  const path = join(temporaryDirectory(context), "mark.sock");
  const labels: string[] = [];
  const sockets: Socket[] = [];
  let wake = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.write(`${JSON.stringify({ protocol: 1, nonce: NONCE })}\n`);
    let proven = false;
    createInterface({ input: socket }).on("line", (line) => {
      if (proven) labels.push((JSON.parse(line) as { label: string }).label);
      else proven = isProven(Proof.parse(JSON.parse(line)), "runner-token", NONCE);
      wake.resolve();
      wake = Promise.withResolvers<void>();
    });
  });
  server.listen(path);
  await once(server, "listening");
  atEnd(context, () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const labelled = async (count: number): Promise<void> => {
    while (labels.length < count) await wake.promise;
  };
  return { path, labels, sockets, labelled };
}

suite("Markers", () => {
  test("proves itself, sends what waited, and comes back after a lost connection", async (context) => {
    const recorder = await aRecorder(context);
    await using markers = new Markers({
      socketPath: recorder.path,
      token: "runner-token",
      log: silentLog,
    });

    markers.mark("one");
    await recorder.labelled(1);
    recorder.sockets[0]?.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    markers.mark("two");
    await recorder.labelled(2);

    assert.deepEqual(recorder.labels, ["one", "two"]);
  });

  test("drops the oldest labels when nobody listens, and ends", async () => {
    const markers = new Markers({
      socketPath: "/nonexistent/mark.sock",
      token: "t",
      log: silentLog,
    });

    for (let index = 0; index < 1000; index += 1) markers.mark(String(index));

    await markers[Symbol.asyncDispose]();
  });
});
