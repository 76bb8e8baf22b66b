import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { appendFile, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { suite, test } from "node:test";
import timers from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { atEnd } from "../helpers/at-end.ts";
import { verifyAsciicast } from "../../src/protocol/asciicast-verify.ts";
import {
  agentlet,
  api,
  CAST,
  CAST_EXIT,
  Peer,
  recorder,
  registration,
  seedRun,
  type SeedRun,
  sha256,
  ship,
  startManager,
  SUCCEEDED,
  temporaryDir,
} from "./seed.ts";

const adoptionTimes = { checkMs: 20, agentletMs: 400, recorderMs: 50, podStartMs: 60_000 };

/** A pid that is no more. */
async function deadPid(): Promise<number> {
  const child = spawn(process.execPath, ["-e", "0"]);
  await once(child, "close");
  return child.pid ?? 1;
}

/** A run whose parts will be containers, known by the tokens of the seed. */
async function announcePod(manager: Parameters<typeof api>[0], dataDir: string): Promise<SeedRun> {
  const { body, seed } = registration(dataDir);
  const { supervisorPid: _, runtimeDir: _r, spoolDir: _s, runnerKey: _k, ...pod } = body;
  const answer = await api(manager, "/v1/pods", { method: "POST", body: JSON.stringify(pod) });
  assert.equal(answer.status, 201);
  return seed;
}

interface Ended {
  phase: string;
  end: {
    outcome: string;
    reason: string;
    detail?: { cause: string; path?: string; fix?: string };
  } | null;
  recording: { verified: boolean; bytes: number; path: string } | null;
}

async function ended(manager: Parameters<typeof api>[0], run: string): Promise<Ended> {
  for (;;) {
    const info = (await (await api(manager, `/v1/runs/${run}`)).json()) as Ended;
    if (info.phase === "ended") return info;
    await timers.setTimeout(20);
  }
}

suite("adoption", () => {
  test("closes a run that nobody is left to close, and completes its recording from the spool", async (t) => {
    const { manager, dataDir } = await startManager(t, { adoptionTimes });
    const { body, seed } = registration(dataDir, { supervisorPid: await deadPid() });
    const spoolDir = body["spoolDir"] as string;
    const runtimeDir = body["runtimeDir"] as string;
    await mkdir(spoolDir, { recursive: true });
    await mkdir(runtimeDir);
    await writeFile(join(spoolDir, "recording.cast"), `${CAST}[0.400, "o", "to`);
    await api(manager, "/v1/runs", { method: "POST", body: JSON.stringify(body) });
    const { peer } = await recorder(manager, seed);
    await ship(peer, 0, Buffer.from(CAST.slice(0, 120)));
    peer.socket.terminate();

    const info = await ended(manager, seed.run);

    assert.equal(info.end?.outcome, "failed");
    assert.equal(info.end.reason, "agentlet_fault");
    const path = info.recording?.path ?? "";
    const text = await readFile(path, "utf8");
    assert.ok(text.startsWith(CAST));
    assert.match(text.slice(CAST.length), /^\[0\.000, "m", "The recording ends here: .*"\]\n$/);
    assert.deepEqual((await verifyAsciicast(path)).problems, []);
    assert.equal(info.recording?.verified, false);
    while (existsSync(runtimeDir)) await timers.setTimeout(5);
    assert.equal(existsSync(spoolDir), false);
    const proofs = await readFile(path.replace(/cast$/, "proofs.jsonl"), "utf8");
    const line = JSON.parse(proofs) as { closed: string; countersignature: { at: number } };
    assert.match(line.closed, /^The recording ends here/);
    assert.equal(line.countersignature.at, Buffer.byteLength(text));
  });

  test("keeps a spool that it cannot open, of the run and of a shell, and says so in the run", async (t) => {
    const { manager, dataDir } = await startManager(t, { adoptionTimes });
    const [orphan, finished] = [{ supervisorPid: await deadPid() }, {}].map((facts) =>
      registration(dataDir, facts),
    );
    assert.ok(orphan !== undefined && finished !== undefined);
    const spoolOf = (one: typeof orphan): string => one.body["spoolDir"] as string;
    const spoil = async (dir: string): Promise<void> => {
      await mkdir(dir, { recursive: true });
      await writeFile(join(dir, "kept.cast"), "ACKNOWLEDGED\n");
      // Opening it is ELOOP, for root too; EIO, EMFILE and EACCES are the same to us.
      await symlink("recording.cast", join(dir, "recording.cast"));
    };
    // Before the run is known: from then on somebody may close it.
    await spoil(spoolOf(orphan));
    for (const { body, seed } of [orphan, finished]) {
      await api(manager, "/v1/runs", { method: "POST", body: JSON.stringify(body) });
      const { peer } = await recorder(manager, seed);
      await ship(peer, 0, Buffer.from(CAST + CAST_EXIT));
      if (seed === orphan.seed) peer.socket.terminate();
    }
    const shell = await (
      await api(manager, `/v1/runs/${finished.seed.run}/shells`, {
        method: "POST",
        body: JSON.stringify({ cols: 80, rows: 24 }),
      })
    ).json();
    const shellDir = `shell-${(shell as { grant_id: string }).grant_id}`;
    await spoil(join(spoolOf(finished), shellDir));
    const sealed = { bytes: CAST.length + CAST_EXIT.length, sha256: sha256(CAST + CAST_EXIT) };
    await api(manager, `/v1/runs/${finished.seed.run}/end`, {
      method: "POST",
      body: JSON.stringify({
        end: SUCCEEDED,
        recording: { ...sealed, bytes: Buffer.byteLength(CAST + CAST_EXIT), verified: false },
      }),
    });

    for (const one of [orphan, finished]) {
      const info = await ended(manager, one.seed.run);

      assert.match(info.end?.detail?.cause ?? "", /spool cannot be read \(ELOOP\), and was kept$/);
      assert.equal(info.end?.detail?.path, spoolOf(one));
      await timers.setTimeout(100);
      assert.equal(existsSync(spoolOf(one)), true);
    }
    assert.ok(existsSync(join(spoolOf(finished), shellDir, "kept.cast")));
  });

  test("keeps the end that the agentlet reported, and a spool that had its end counts as verified", async (t) => {
    const { manager, dataDir } = await startManager(t, { adoptionTimes });
    const { body, seed } = registration(dataDir, { supervisorPid: await deadPid() });
    const spoolDir = body["spoolDir"] as string;
    await mkdir(spoolDir, { recursive: true });
    await writeFile(join(spoolDir, "recording.cast"), CAST + CAST_EXIT);
    await api(manager, "/v1/runs", { method: "POST", body: JSON.stringify(body) });
    const link = await agentlet(manager, seed);
    const event = { type: "ended", time: "2026-11-20T10:00:00.000Z", end: SUCCEEDED };
    await link.send({ kind: "event", seq: 1, event });
    await link.until((message) => message["seq"] === 1);
    link.socket.terminate();

    const info = await ended(manager, seed.run);

    assert.deepEqual(info.end, SUCCEEDED);
    assert.equal(info.recording?.verified, true);
    assert.equal(await readFile(info.recording.path, "utf8"), CAST + CAST_EXIT);
  });

  test("keeps acknowledged bytes of a torn line, and a spool that differs", async (t) => {
    const { manager, dataDir } = await startManager(t, { adoptionTimes });
    const { body, seed } = registration(dataDir, { supervisorPid: await deadPid() });
    const spoolDir = body["spoolDir"] as string;
    await mkdir(spoolDir, { recursive: true });
    await writeFile(join(spoolDir, "recording.cast"), "something else entirely\n");
    await api(manager, "/v1/runs", { method: "POST", body: JSON.stringify(body) });
    const { peer } = await recorder(manager, seed);
    await ship(peer, 0, Buffer.from(`${CAST}#raw gIE=\n[0.4, "o`));
    peer.socket.terminate();

    const info = await ended(manager, seed.run);

    const text = await readFile(info.recording?.path ?? "", "utf8");
    assert.ok(text.includes(`# torn ${Buffer.from('[0.4, "o').toString("base64")}\n`));
    assert.deepEqual((await verifyAsciicast(info.recording?.path ?? "")).problems, []);
    assert.equal(existsSync(spoolDir), true);
  });

  test("does not wait for a pod's recorder that never came once the agentlet has said how the run ended", async (t) => {
    const patient = { ...adoptionTimes, recorderMs: 600_000 };
    const { manager, dataDir } = await startManager(t, { adoptionTimes: patient });
    const seed = await announcePod(manager, dataDir);
    const boot = await fetch(`${manager.url}/v1/runs/${seed.run}/boot`, {
      method: "POST",
      headers: { authorization: `Bearer ${seed.tokens.agentlet}` },
      body: JSON.stringify({ protocol: 1, role: "agentlet" }),
    });
    const { agentletToken } = (await boot.json()) as { agentletToken: string };
    const link = await agentlet(manager, {
      ...seed,
      tokens: { ...seed.tokens, agentlet: agentletToken },
    });
    const end = {
      outcome: "refused",
      reason: "not_started",
      exitCode: null,
      signal: null,
      detail: { cause: "No space" },
    };
    await link.send({
      kind: "event",
      seq: 1,
      event: { type: "ended", time: "2026-11-20T10:00:00.000Z", end },
    });
    await link.until((message) => message["seq"] === 1);
    link.socket.terminate();

    const info = await ended(manager, seed.run);

    assert.deepEqual(info.end, end);
    assert.equal(info.recording, null);
  });

  test("a pod that never comes to its agent ends with where to look for what it lacks", async (t) => {
    const hasty = { ...adoptionTimes, podStartMs: 100 };
    const { manager, dataDir } = await startManager(t, { adoptionTimes: hasty });
    const seed = await announcePod(manager, dataDir);

    const info = await ended(manager, seed.run);

    assert.deepEqual([info.end?.outcome, info.end?.reason], ["failed", "agentlet_fault"]);
    assert.match(info.end?.detail?.cause ?? "", /did not come to its agent within 1 min/);
    assert.match(info.end?.detail?.fix ?? "", /kubectl describe pod seeded.*Secret/);
  });

  test("leaves a run alone whose supervisor lives", async (t) => {
    const { manager, dataDir } = await startManager(t, { adoptionTimes });
    const { run } = await seedRun(manager, dataDir);

    await timers.setTimeout(200);

    const info = (await (await api(manager, `/v1/runs/${run}`)).json()) as Ended;
    assert.equal(info.phase, "starting");
  });
});

suite("life of the manager", () => {
  test("ends when nothing is live and nobody watches", async (t) => {
    const { manager, dataDir } = await startManager(t, {
      ephemeral: true,
      idleTimes: { idleMs: 100, firstMs: 100 },
    });
    const { run } = await seedRun(manager, dataDir);
    const viewer = new Peer(manager, `/v1/runs/${run}/attach`, manager.token);
    await viewer.json();
    let finished = false;
    void manager.finished.then(() => {
      finished = true;
    });

    await timers.setTimeout(300);
    assert.equal(finished, false);
    const busy = await api(manager, "/v1/shutdown-if-idle", { method: "POST" });
    await api(manager, `/v1/runs/${run}/end`, {
      method: "POST",
      body: JSON.stringify({ end: SUCCEEDED, recording: null }),
    });

    assert.deepEqual(await busy.json(), { exits: false });
    await manager.finished;
  });

  test("ends at once when told so and idle", async (t) => {
    const { manager } = await startManager(t);

    const answer = await api(manager, "/v1/shutdown-if-idle", { method: "POST" });

    assert.equal(answer.status, 202);
    await manager.finished;
  });

  test("is the only one of its data directory", async (t) => {
    const { manager, dataDir } = await startManager(t);

    await assert.rejects(startManager(t, { dataDir }), (error: Error & { code: string }) => {
      assert.equal(error.code, "manager_locked");
      assert.ok(error.message.includes(`${manager.url} (pid ${process.pid})`));
      return true;
    });
  });

  test("leaves its port only when no live run depends on it", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const { run } = await seedRun(manager, dataDir);
    const { port } = new URL(manager.url);
    await manager[Symbol.asyncDispose]();
    const taker = createServer();
    taker.listen(Number(port), "127.0.0.1");
    await once(taker, "listening");
    atEnd(t, () => taker.close());

    await assert.rejects(startManager(t, { dataDir }), { code: "port_taken" });
    const file = join(dataDir, "runs", run, "run.json");
    await writeFile(file, (await readFile(file, "utf8")).replace('"starting"', '"ended"'));
    const { manager: next } = await startManager(t, { dataDir });

    assert.notEqual(next.url, manager.url);
    assert.equal(next.token, manager.token);
  });

  test("passes over a run that cannot be read", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const broken = await seedRun(manager, dataDir);
    const whole = await seedRun(manager, dataDir);
    await manager[Symbol.asyncDispose]();
    await appendFile(join(dataDir, "runs", broken.run, "run.json"), "garbage");

    const { manager: next } = await startManager(t, { dataDir });

    const { runs } = (await (await api(next, "/v1/runs")).json()) as { runs: { run: string }[] };
    assert.deepEqual(
      runs.map(({ run }) => run),
      [whole.run],
    );
  });

  test("as a program: says ready, exits 3 beside another, ends in order", async (t) => {
    const dataDir = await temporaryDir(t);
    const program = `import { main } from ${JSON.stringify(fileURLToPath(new URL("../../src/manager/main.ts", import.meta.url)))}; process.exitCode = await main(["--data", ${JSON.stringify(dataDir)}]);`;
    const start = (): ReturnType<typeof spawn> =>
      spawn(process.execPath, ["--input-type=module", "-e", program], {
        stdio: ["ignore", "pipe", "pipe"],
      });
    const first = start();
    atEnd(t, () => first.kill("SIGKILL"));
    const [line] = (await once(first.stdout ?? first, "data")) as [Buffer];

    const second = start();
    const [code] = (await once(second, "exit")) as [number];
    first.kill("SIGTERM");
    const [firstCode] = (await once(first, "exit")) as [number];

    assert.deepEqual(JSON.parse(line.toString()), { kind: "ready" });
    assert.equal(code, 3);
    assert.equal(firstCode, 0);
  });
});
