import assert from "node:assert/strict";
import { test } from "node:test";
import { record, SHIP_IN_POD_MS } from "../../src/recorder/record.ts";
import { POD_GRACE } from "../../src/protocol/pod-grace.ts";
import { silentLog } from "../../src/kit/log.ts";
import { aRun } from "./helpers/run-spec.ts";

test("a recorder with nobody left ships for as long as it is given, and says that the manager has not verified", async () => {
  await using run = await aRun();
  const started = performance.now();

  const sealed = await record({
    spec: run.spec,
    boot: run.boot,
    log: silentLog,
    say: () => undefined,
    onSecrets: () => undefined,
    producerLost: new AbortController().signal,
    supervisorGone: AbortSignal.abort("told to end"),
    shipAloneMs: 2500,
  });

  const passed = performance.now() - started;
  assert.equal(sealed.verified, false);
  assert(passed >= 2499 && passed < 9000, `${passed} ms`);
});

test("a recorder in a pod ships for its share of the pod's grace, and has time left to say how it went", () => {
  assert.equal(SHIP_IN_POD_MS, POD_GRACE.recorder * 1000 - 1000);
});
