import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import timers from "node:timers/promises";
import { readdirSync } from "node:fs";
import { openTestZone, startOnTerminal } from "../agentlet/open-zone.ts";
import type { TestZone } from "../agentlet/open-zone.ts";

const ROUNDS = 1000;
/** Exits with a paused reader: fewer, since each one waits out the time after which others throw the tail away. */
const PAUSED_ROUNDS = 100;
const PAUSE_MS = 250;

suite("1,000 exits", () => {
  let zone: TestZone;
  before(async () => {
    zone = await openTestZone();
  });
  after(async () => {
    await zone[Symbol.asyncDispose]();
  });

  async function exitWith(size: number, paused: boolean): Promise<Buffer> {
    const script = `stty -onlcr; head -c ${size - 4} /dev/zero | tr '\\0' x; printf TAIL`;
    const program = await startOnTerminal(zone, ["/bin/sh", "-c", script], { paused });
    if (paused) {
      await timers.setTimeout(PAUSE_MS);
      program.pty.resume();
    }
    const end = await program.pty.ended;
    assert.deepEqual(end.exit, { kind: "exited", code: 0 });
    return program.output();
  }

  for (const size of [3_000, 20_000, 256_000, 1_000_000]) {
    test(`lose no byte of ${size}`, async () => {
      const descriptors = readdirSync("/proc/self/fd").length;

      for (let round = 0; round < ROUNDS; round += 1) {
        const output = await exitWith(size, false);
        assert.equal(output.length, size, `round ${round}`);
        assert.equal(output.toString("latin1", size - 4), "TAIL", `round ${round}`);
      }

      const left = readdirSync("/proc/self/fd").length - descriptors;
      assert.ok(left <= 2, `${left} descriptors leaked`);
    });

    test(`lose no byte of ${size} with a paused reader`, async () => {
      for (let round = 0; round < PAUSED_ROUNDS; round += 1)
        assert.equal((await exitWith(size, true)).length, size, `round ${round}`);
    });
  }
});
