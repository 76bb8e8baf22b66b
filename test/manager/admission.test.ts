import assert from "node:assert/strict";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { Admission } from "../../src/manager/admission.ts";
import type { Place } from "../../src/manager/admission.ts";
import { encodeAppend } from "../../src/protocol/recording-link.ts";
import { api, CAST, Peer, recorder, seedRun, startManager } from "./seed.ts";

suite("admission of recorders that catch up", () => {
  test("gives as many places as there are, and the next one when a place is left", () => {
    const admission = new Admission({ places: 2 });
    const first = placeOf(admission, "a");
    placeOf(admission, "b");

    assert.ok("retryAfterMs" in admission.enter("c"));
    first.leave();
    first.leave();

    placeOf(admission, "c");
    assert.ok("retryAfterMs" in admission.enter("d"));
  });

  test("asks for a longer absence the more are away, and never beyond its limit", () => {
    const admission = new Admission({ places: 1 });
    placeOf(admission, "a");

    const waits = Array.from({ length: 5000 }, (_, index) => waitOf(admission, `${index}`));

    assert.equal(waits.at(0), 200);
    assert.ok((waits.at(99) ?? 0) > 2 * 200, `${waits.at(99)}`);
    assert.equal(waits.at(-1), 15_000);
    // The same one again is still one.
    assert.ok(Math.abs(waitOf(admission, "9") - waitOf(admission, "9")) < 100);
  });

  test("takes back the place of one that does not go on, and leaves it to one that does", async () => {
    const admission = new Admission({ places: 1, idleMs: 60 });
    const place = placeOf(admission, "a");

    for (let round = 0; round < 5; round += 1) {
      await timers.setTimeout(20);
      place.progress();
    }
    const busy = admission.enter("b");
    await timers.setTimeout(120);

    assert.ok("retryAfterMs" in busy);
    placeOf(admission, "b");
  });

  test("tells the seventeenth when to come back, counts it, and takes it when one has caught up", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const runs = await Promise.all(
      Array.from({ length: 17 }, async () => await seedRun(manager, dataDir)),
    );
    const backlog = Buffer.concat([
      Buffer.from(CAST),
      Buffer.alloc(80 * 1024, "#a line of a backlog\n"),
    ]);
    const peers: Peer[] = [];
    for (const run of runs.slice(0, 16)) {
      const peer = new Peer(manager, `/v1/recordings/${run.run}`, run.tokens.recorder);
      await peer.send({ kind: "hello", protocol: 1, epoch: 1, bytes: backlog.length });
      await peer.until(({ kind }) => kind === "committed");
      peers.push(peer);
    }
    const [late] = runs.slice(16);
    assert.ok(late !== undefined);

    const refused = new Peer(manager, `/v1/recordings/${late.run}`, late.tokens.recorder);
    await refused.send({ kind: "hello", protocol: 1, epoch: 1, bytes: backlog.length });
    const answer = await refused.json();

    assert.equal(answer["kind"], "retry_after");
    assert.equal((await refused.closed).code, 4429);
    const numbers = await (await api(manager, "/metrics")).text();
    assert.match(numbers, /^agentkube_manager_recorders_deferred_total 1$/m);
    await peers[0]?.send(encodeAppend(0, backlog));
    await peers[0]?.until(({ kind, bytes }) => kind === "committed" && bytes === backlog.length);
    assert.equal((await recorder(manager, late)).committed, 0);
  });

  test("lets in whoever has little to catch up, however many have much", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const runs = await Promise.all(
      Array.from({ length: 17 }, async () => await seedRun(manager, dataDir)),
    );
    for (const [index, run] of runs.entries()) {
      const peer = new Peer(manager, `/v1/recordings/${run.run}`, run.tokens.recorder);
      const bytes = index === 16 ? 64 * 1024 : 80 * 1024;
      await peer.send({ kind: "hello", protocol: 1, epoch: 1, bytes });
      assert.ok(await peer.until(({ kind }) => kind === "committed"));
    }
  });
});

function placeOf(admission: Admission, session: string): Place {
  const place = admission.enter(session);
  assert.ok("leave" in place, `${session} got no place`);
  return place;
}

function waitOf(admission: Admission, session: string): number {
  const answer = admission.enter(session);
  assert.ok("retryAfterMs" in answer);
  return answer.retryAfterMs;
}
