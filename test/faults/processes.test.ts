import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { until } from "../helpers/until.ts";
import { readIntact } from "../../src/protocol/asciicast.ts";
import { RecorderProcess } from "../recorder/helpers/recorder-process.ts";
import { RecorderRig } from "./recorder-rig.ts";

const MB = 1_000_000;

suite("recorder and manager as processes", () => {
  for (const part of ["recorder", "manager"] as const)
    test(`without a free descriptor in the ${part} for 4 s: nothing is lost`, async () => {
      await using rig = await RecorderRig.open();
      await rig.goOn(MB);

      const { pid } = rig[part];
      limitDescriptors(pid, 1);
      // What is connected has its descriptors; a new connection of either kind needs one.
      const begun = new AbortController();
      const knocking = knock(rig, begun.signal);
      await timers.setTimeout(3500);
      assert.equal(await isServed(rig, part), false, "a new connection was served");
      limitDescriptors(pid, 4096);
      begun.abort();
      await knocking;
      await rig.goOn(MB);

      await rig.finish();
    });

  const faketime = libfaketime();
  test(
    "while the clock steps by an hour, forward and back: times of the recording stay those of the terminal",
    { skip: faketime === null ? "needs libfaketime" : false },
    async () => {
      const dir = mkdtempSync(path.join(tmpdir(), "akclock-"));
      const clock = path.join(dir, "clock");
      const step = (by: string): void => writeFileSync(clock, `${by}\n`);
      step("+0");
      const env = {
        LD_PRELOAD: faketime ?? "",
        FAKETIME_TIMESTAMP_FILE: clock,
        FAKETIME_NO_CACHE: "1",
        FAKETIME_DONT_FAKE_MONOTONIC: "1",
      };
      try {
        const began = performance.now();
        await using rig = await RecorderRig.open({ recorder: () => ({ env }), managerEnv: env });
        for (const by of ["+1h", "-1h", "+0"]) {
          await rig.goOn(MB);
          step(by);
          await timers.setTimeout(500);
          assert.equal(
            dateUnder(env),
            by === "+0" ? 0 : Number(by.slice(0, 2)),
            "the step did nothing",
          );
        }
        // A recorder that is started again reads the age of its spool from the wall clock.
        step("+1h");
        await rig.recorder.killHard();
        await rig.goOn(MB);

        await rig.finish();

        const sessionMs = performance.now() - began;
        const seconds = await lengthOf(rig.cast);
        assert.ok(seconds * 1000 < sessionMs + 1000, `${seconds} s recorded in ${sessionMs} ms`);
        assert.ok(seconds > 1);
      } finally {
        rmSync(dir, { recursive: true, force: true });
      }
    },
  );

  test("the manager stands still for 30 s: the recorder has noticed, and nothing is lost", async () => {
    await using rig = await RecorderRig.open();
    await rig.goOn(MB);

    process.kill(rig.manager.pid, "SIGSTOP");
    const stopped = performance.now();
    await until("the recorder to notice", () => rig.recorder.log.includes("manager is away"));
    const noticedMs = performance.now() - stopped;
    await timers.setTimeout(30_000 - noticedMs);
    process.kill(rig.manager.pid, "SIGCONT");
    await rig.goOn(MB);

    await rig.finish();
    assert.ok(noticedMs < 17_000, `noticed after ${noticedMs} ms`);
  });

  test("the manager is restored from an older backup: what it lacks comes again, with its proofs", async () => {
    await using rig = await RecorderRig.open();
    const dir = mkdtempSync(path.join(tmpdir(), "akbackup-"));
    try {
      await rig.goOn(3 * MB);
      await rig.manager.kill();
      cpSync(rig.data, dir, { recursive: true });
      await rig.restartManager();
      await rig.goOn(4 * MB);
      await until("newer proofs", () => sizeOf(rig, rig.data) > sizeOf(rig, dir) + 1000);

      await rig.manager.kill();
      rmSync(rig.data, { recursive: true });
      cpSync(dir, rig.data, { recursive: true });
      await rig.restartManager();
      await rig.goOn(MB);

      await rig.finish();
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test("a second recorder of the same session, on the same spool and on one of its own, changes nothing", async () => {
    await using rig = await RecorderRig.open();
    await rig.goOn(MB);

    await using same = await RecorderProcess.start(rig.run);
    const other = { ...rig.run, dir: mkdtempSync(path.join(tmpdir(), "aksecond-")) };
    try {
      other.spec = structuredClone(rig.run.spec);
      other.spec.spoolDir = path.join(other.dir, "spool");
      other.spec.sockets.recorder = path.join(other.dir, "rec.sock");
      other.spec.sockets.markers = path.join(other.dir, "mark.sock");
      await using second = await RecorderProcess.start(other);
      second.command({ kind: "producer_lost", cause: "there is none" });
      await rig.goOn(MB);

      assert.equal(await same.exitCode(), 1);
      assert.match(same.log, /another recorder has it open/);
      assert.equal(await second.exitCode(), 1);
      assert.equal(second.sealed()?.verified, false);
      await rig.finish();
    } finally {
      rmSync(other.dir, { recursive: true, force: true });
    }
  });
});

function sizeOf(rig: RecorderRig, data: string): number {
  return statSync(path.join(data, "runs", rig.run.spec.run, "recording.proofs.jsonl")).size;
}

/** Whether somebody new gets an answer. */
async function isServed(rig: RecorderRig, part: "recorder" | "manager"): Promise<boolean> {
  if (part === "manager")
    return await fetch(`http://127.0.0.1:${rig.port}/v1/health`, {
      signal: AbortSignal.timeout(500),
    })
      .then(() => true)
      .catch(() => false);
  const socket = connect({ path: rig.run.spec.sockets.recorder });
  socket.on("error", () => undefined);
  const said = Promise.withResolvers<boolean>();
  socket.once("data", () => said.resolve(true)).once("close", () => said.resolve(false));
  setTimeout(() => said.resolve(false), 500);
  return await said.promise.finally(() => socket.destroy());
}

/** The soft limit only: the process keeps what it has open. */
function limitDescriptors(pid: number, most: number): void {
  execFileSync("prlimit", [`--pid=${pid}`, `--nofile=${most}:`]);
}

/** Somebody connects to both sockets again and again; the answer does not matter. */
async function knock(rig: RecorderRig, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    for (const target of [{ path: rig.run.spec.sockets.recorder }, { port: rig.port }]) {
      const socket = connect(target);
      socket.on("error", () => undefined);
      setTimeout(() => socket.destroy(), 50);
    }
    await timers.setTimeout(30);
  }
}

function libfaketime(): string | null {
  const places = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map(
    (machine) => `/usr/lib/${machine}/faketime/libfaketime.so.1`,
  );
  return places.find((place) => existsSync(place)) ?? null;
}

/** By how many hours the clock of a process with this environment is wrong. */
function dateUnder(env: Record<string, string>): number {
  const told = Number(
    execFileSync(process.execPath, ["-p", "Date.now()"], { env, encoding: "utf8" }),
  );
  return Math.round((told - Date.now()) / 3_600_000) + 0;
}

async function lengthOf(cast: string): Promise<number> {
  let timeUs = 0;
  for await (const item of readIntact(cast)) if (item.kind === "event") ({ timeUs } = item.event);
  return timeUs / 1e6;
}
