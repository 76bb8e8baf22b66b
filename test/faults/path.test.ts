import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";
import timers from "node:timers/promises";
import { createSigningKey } from "../../src/kit/signing.ts";
import { rawBytesOf } from "../../src/protocol/asciicast.ts";
import { verifyProofs } from "../../src/protocol/recording-proof-verify.ts";
import { ShippedSession } from "../helpers/shipped-session.ts";
import { seedRun, startManager } from "../manager/seed.ts";
import { FaultyPath } from "./faulty-path.ts";

interface Shipped extends AsyncDisposable {
  path: FaultyPath;
  /** output as the terminal gave it, so far */
  given: Buffer[];
  write(bytes: Buffer): void;
  /** Ends the session, waits for the verdict, and compares what the manager has with what was given. */
  finish(): Promise<void>;
}

/** A recorder's shipping over a path that can be made bad, to a real manager. */
async function open(t: TestContext, random?: () => number): Promise<Shipped> {
  const stack = new AsyncDisposableStack();
  const key = createSigningKey();
  const { manager, dataDir } = await startManager(t);
  const { run, tokens } = await seedRun(manager, dataDir, { recorderKey: key.publicKey });
  const path = stack.use(await FaultyPath.open(Number(new URL(manager.url).port), random));
  const dir = await mkdtemp(join(tmpdir(), "path-test-"));
  stack.defer(async () => await rm(dir, { recursive: true, force: true }));
  const session = stack.use(
    await ShippedSession.open({
      url: `http://127.0.0.1:${path.port}`,
      run,
      token: tokens.recorder,
      key,
      path: join(dir, "spool", "recording.cast"),
      backoff: { minMs: 2, maxMs: 20 },
    }),
  );
  session.ship();
  const given: Buffer[] = [];
  return {
    path,
    given,
    write(bytes) {
      given.push(bytes);
      session.write(bytes);
    },
    async finish() {
      await session.end();
      const cast = join(dataDir, "runs", run, "recording.cast");
      const pieces: Buffer[] = [];
      for await (const piece of rawBytesOf(cast)) pieces.push(Buffer.from(piece));
      assert.ok(
        Buffer.concat(pieces).equals(Buffer.concat(given)),
        "not the bytes that were given",
      );
      const proofs = cast.replace(".cast", ".proofs.jsonl");
      const keys = { recorderKey: key.publicKey };
      const { problems, proof } = (await verifyProofs(proofs, cast, keys)) ?? {};
      assert.deepEqual(problems, []);
      assert.equal(proof?.countersignedBytes, (await readFile(cast)).length);
      assert.equal(proof.ended, true);
    },
    async [Symbol.asyncDispose]() {
      await stack[Symbol.asyncDispose]();
    },
  };
}

/** The same numbers for the same seed, so that a failure can be had again. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

suite("a bad path to the manager", () => {
  test("cut at every byte of a connection: nothing is lost or doubled", async (t) => {
    await using session = await open(t);
    // One connection's opening and its first appends are about this long.
    for (let cutAfter = 1; cutAfter <= 1000; cutAfter += 1) {
      session.path.set({ cutAfter });
      const before = session.path.connections;
      while (session.path.connections === before) {
        session.write(Buffer.from(`cut ${cutAfter} ${"x".repeat(cutAfter % 90)}\r\n`));
        await timers.setTimeout(2);
      }
    }
    session.path.set({});
    await session.finish();
  });

  for (const [name, faults] of [
    ["loses one piece in a hundred", { lose: 0.03 }],
    ["repeats one piece in twenty", { repeat: 0.05 }],
    ["swaps one piece in twenty with the next", { swap: 0.05 }],
    ["does all of it", { lose: 0.01, repeat: 0.02, swap: 0.02 }],
  ] as const)
    test(`a path that ${name}: what is committed is right`, async (t) => {
      const seed = Number(process.env["FAULT_SEED"] ?? 7);
      await using session = await open(t, randomOf(seed));
      session.path.set(faults);
      for (let round = 0; round < 60; round += 1) {
        session.write(randomBytes(40_000));
        await timers.setTimeout(5);
      }
      const healed = timers.setTimeout(3000).then(() => session.path.set({}));
      await Promise.all([session.finish(), healed]);
    });

  test("100 ms late in both directions: the window keeps it going, nothing is lost", async (t) => {
    await using session = await open(t);
    session.path.set({ delayMs: 100 });
    for (let round = 0; round < 40; round += 1) session.write(randomBytes(50_000));
    await session.finish();
  });

  test("swallowed up, down or both ways is noticed within 15 s and healed on a new connection", async (t) => {
    await Promise.all(
      [
        { up: true, down: false },
        { up: false, down: true },
        { up: true, down: true },
      ].map(async (swallow) => {
        await using session = await open(t);
        session.write(Buffer.from("before\r\n"));
        while (session.path.connections === 0) await timers.setTimeout(5);
        await timers.setTimeout(300);
        session.path.set({ swallow });
        const began = performance.now();
        session.write(Buffer.from("while nothing passes\r\n"));
        while (session.path.connections < 2) await timers.setTimeout(20);
        const noticedMs = performance.now() - began;
        session.path.set({});
        await session.finish();
        assert.ok(noticedMs < 15_500, `${JSON.stringify(swallow)}: noticed after ${noticedMs} ms`);
      }),
    );
  });
});
