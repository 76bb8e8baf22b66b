// Many recorders and one real manager: all of them come at once with a backlog, then the manager is killed under them and they come again.
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import timers from "node:timers/promises";
import { ask, forked } from "../../bench/forked.ts";
import { createSigningKey } from "../../src/kit/signing.ts";
import { rawBytesOf } from "../../src/protocol/asciicast.ts";
import { verifyProofs } from "../../src/protocol/recording-proof-verify.ts";
import { PIECE_BYTES, stormOutput } from "../fixtures/storm-output.ts";
import type { StormAnswer, StormOrder, StormSession } from "../fixtures/storm-recorders.ts";
import { registration } from "../manager/seed.ts";
import { freePort, RealManager } from "./real-manager.ts";

const CALM_MS = 3000;

export interface StormReport {
  /** until the manager had all of the backlog, of the first storm and of the one after its death */
  drainMs: [number, number];
  backlogBytes: number;
  /** how late the manager had what the sessions said that were there before the storm: before it, and in it */
  calmP99Ms: number;
  stormP99Ms: number;
  /** largest resident memory of the two managers */
  managerMiB: number;
  /** how often recorders were told to come back later */
  deferred: number;
}

export interface StormOptions {
  sessions: number;
  /** sessions that are connected before the storm and say a little all the time */
  live: number;
  processes: number;
  /** pieces of 16 KiB each session has when it comes, and again while the manager is dead */
  pieces: number;
}

interface Group {
  child: ChildProcess;
  sessions: StormSession[];
}

/** Fails when a byte is missing anywhere; else says how it went. */
export async function storm(options: StormOptions): Promise<StormReport> {
  await using stack = new AsyncDisposableStack();
  const root = mkdtempSync(path.join(tmpdir(), "akstorm-"));
  stack.defer(() => rmSync(root, { recursive: true, force: true }));
  const data = path.join(root, "data");
  const port = await freePort();
  const first = stack.use(await RealManager.start(data, port));
  const seats = await seatsAt(first, data, options.live + options.sessions);
  const sessions = seats.map(({ session }) => session);

  const spools = path.join(root, "spools");
  mkdirSync(spools);
  const openGroup = async (members: StormSession[]): Promise<Group> => {
    const program = new URL("../fixtures/storm-recorders.ts", import.meta.url);
    const { child } = stack.use(forked(program, { UV_THREADPOOL_SIZE: "16" }));
    const group = { child, sessions: members };
    await tell(group, {
      kind: "open",
      url: `ws://127.0.0.1:${port}`,
      dir: spools,
      sessions: members,
    });
    return group;
  };
  const live = await openGroup(sessions.slice(0, options.live));
  const share = Math.ceil(options.sessions / options.processes);
  const crowd = await Promise.all(
    Array.from({ length: options.processes }, async (_, index) => {
      const from = options.live + index * share;
      return await openGroup(sessions.slice(from, from + share));
    }),
  );
  const everyone = [live, ...crowd];
  const write: StormOrder = { kind: "write", pieces: options.pieces };

  await tellAll(crowd, write);
  await tellAll([live], { kind: "ship" }, { kind: "tick", everyMs: 100 });
  await timers.setTimeout(CALM_MS);
  const calm = await tell(live, { kind: "look" });
  const firstMs = await taken(
    async () => await tellAll(crowd, { kind: "ship" }, { kind: "drain" }),
  );
  const stormy = await tell(live, { kind: "look" });
  await tellAll([live], { kind: "quiet" }, { kind: "drain" });
  let { deferred, peakMiB: managerMiB } = await first.facts();

  await first.kill();
  await tellAll(everyone, write);
  const second = stack.use(await RealManager.start(data, port));
  const secondMs = await taken(async () => await tellAll(everyone, { kind: "drain" }));
  const answers = await tellAll(everyone, { kind: "end" });
  const after = await second.facts();
  deferred += after.deferred;
  managerMiB = Math.max(managerMiB, after.peakMiB);

  const pieces = answers.flatMap((answer) => answer.pieces);
  for (const [index, { session, publicKey }] of seats.entries())
    await assertExact(path.join(data, "runs", session.run), session, pieces[index] ?? 0, publicKey);
  return {
    drainMs: [firstMs, secondMs],
    backlogBytes: options.sessions * options.pieces * PIECE_BYTES,
    calmP99Ms: p99(calm.latenciesMs),
    stormP99Ms: p99(stormy.latenciesMs),
    managerMiB,
    deferred,
  };
}

async function assertExact(
  dir: string,
  session: StormSession,
  pieces: number,
  recorderKey: string,
): Promise<void> {
  const cast = path.join(dir, "recording.cast");
  const recorded = createHash("sha256");
  for await (const bytes of rawBytesOf(cast)) recorded.update(bytes);
  const given = createHash("sha256");
  for (let piece = 0; piece < pieces; piece += 1) given.update(stormOutput(session.number, piece));
  assert.equal(recorded.digest("hex"), given.digest("hex"), `session ${session.number} differs`);
  const known = { recorderKey, session: session.run };
  const checked = await verifyProofs(path.join(dir, "recording.proofs.jsonl"), cast, known);
  assert.deepEqual(checked?.problems, [], `session ${session.number}`);
  assert.equal(checked?.proof.ended, true);
}

async function seatsAt(
  manager: RealManager,
  data: string,
  count: number,
): Promise<{ session: StormSession; publicKey: string }[]> {
  const seats = [];
  for (let number = 0; number < count; number += 1) {
    const key = createSigningKey();
    const { body, seed } = registration(data, { recorderKey: key.publicKey });
    await manager.register(body);
    const session = { run: seed.run, token: seed.tokens.recorder, seed: key.seed(), number };
    seats.push({ session, publicKey: key.publicKey });
  }
  return seats;
}

async function tell(group: Group, order: StormOrder): Promise<StormAnswer> {
  return await ask<StormAnswer>(group.child, order);
}

/** Each order to all groups at once; gives the last answers, in the order of the groups. */
async function tellAll(groups: Group[], ...orders: StormOrder[]): Promise<StormAnswer[]> {
  let answers: StormAnswer[] = [];
  for (const order of orders)
    answers = await Promise.all(groups.map(async (group) => await tell(group, order)));
  return answers;
}

async function taken(step: () => Promise<unknown>): Promise<number> {
  const since = performance.now();
  await step();
  return Math.round(performance.now() - since);
}

function p99(values: number[]): number {
  assert.ok(values.length > 0, "Nothing was measured");
  const sorted = values.toSorted((left, right) => left - right);
  return Math.round(sorted[Math.floor(sorted.length * 0.99)] ?? Infinity);
}
