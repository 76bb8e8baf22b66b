import assert from "node:assert/strict";
import { suite, test, type TestContext } from "node:test";
import { SHELL_LIMITS } from "../../src/manager/shell.ts";
import type { ShellInfo } from "../../src/protocol/manager-api.ts";
import { until } from "../helpers/until.ts";
import { agentlet, api, Peer, seedRun, startManager, type SeedRun } from "./seed.ts";

type Manager = Awaited<ReturnType<typeof startManager>>["manager"];

async function granted(manager: Manager, { run }: SeedRun): Promise<ShellInfo> {
  const answer = await api(manager, `/v1/runs/${run}/shells`, {
    method: "POST",
    body: JSON.stringify({ cols: 80, rows: 24, argv: null }),
  });
  assert.equal(answer.status, 201);
  return (await answer.json()) as ShellInfo;
}

async function infoOf(manager: Manager, { run, grant_id }: ShellInfo): Promise<ShellInfo> {
  return (await (await api(manager, `/v1/runs/${run}/shells/${grant_id}`)).json()) as ShellInfo;
}

const attachTo = (manager: Manager, { run, grant_id }: ShellInfo) =>
  new Peer(manager, `/v1/runs/${run}/shells/${grant_id}/attach`, manager.token);

function waitShortly(t: TestContext, ms: number): void {
  const { personMs } = SHELL_LIMITS;
  SHELL_LIMITS.personMs = ms;
  t.after(() => {
    SHELL_LIMITS.personMs = personMs;
  });
}

/** Commands that an agentlet gets, up to its `event_ack` for an event sent now: nothing else was on its way before it. */
async function commandsOf(link: Peer, seq: number): Promise<Record<string, unknown>[]> {
  const time = new Date().toISOString();
  await link.send({ kind: "event", seq, event: { type: "notice", time, message: "ping" } });
  const seen: Record<string, unknown>[] = [];
  await link.until((message) => {
    if (message["kind"] === "event_ack") return message["seq"] === seq;
    seen.push(message);
    return false;
  });
  return seen;
}

suite("a grant for a shell", () => {
  test("that the agentlet has refused opens nothing any more, whoever comes with it", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const link = await agentlet(manager, run);
    const shell = await granted(manager, run);
    const person = attachTo(manager, shell);
    const { grant_id } = await link.until(({ kind }) => kind === "shell_open");
    await link.send({ kind: "shell_close", grant_id, reason: "More than 8 shells are open" });
    await person.until(({ kind }) => kind === "ended");

    const again = attachTo(manager, shell);
    const end = await again.json();

    assert.deepEqual(end, { kind: "ended", reason: "More than 8 shells are open" });
    assert.equal((await again.closed).code, 1000);
    const commands = await commandsOf(link, 1);
    assert.deepEqual(
      commands.filter(({ kind }) => kind === "shell_open"),
      [],
    );
  });

  test("to which nobody comes is over after a while, and is not opened then", async (t) => {
    waitShortly(t, 100);
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const link = await agentlet(manager, run);
    const shell = await granted(manager, run);

    const asked = await link.until(({ kind }) => kind === "shell_close");
    const late = await attachTo(manager, shell).json();
    await link.send({ kind: "shell_close", grant_id: shell.grant_id, reason: asked["reason"] });
    const info = await until("its end", async () => {
      const now = await infoOf(manager, shell);
      return now.endedAt === null ? undefined : now;
    });

    assert.equal(late["kind"], "ended");
    assert.equal(info.reason, "nobody has come to it");
  });

  test("that is closed while the agentlet is away is closed when it comes back", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const first = await agentlet(manager, run);
    const shell = await granted(manager, run);
    const person = attachTo(manager, shell);
    await first.until(({ kind }) => kind === "shell_open");
    first.socket.terminate();
    await person.until(({ kind }) => kind === "waiting");
    await api(manager, `/v1/runs/${run.run}/shells/${shell.grant_id}`, { method: "DELETE" });

    const second = await agentlet(manager, run);
    const command = await second.until(({ kind }) => String(kind).startsWith("shell_"));

    assert.deepEqual(command, {
      kind: "shell_close",
      grant_id: shell.grant_id,
      reason: "closed by the operator",
    });
  });

  test("whose person did not come back after the manager's restart is closed", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const link = await agentlet(manager, run);
    const shell = await granted(manager, run);
    attachTo(manager, shell);
    await link.until(({ kind }) => kind === "shell_open");
    await manager[Symbol.asyncDispose]();
    waitShortly(t, 100);

    const { manager: next } = await startManager(t, { dataDir });
    const back = await agentlet(next, run);
    const command = await back.until(({ kind }) => kind === "shell_close");

    assert.equal(command["grant_id"], shell.grant_id);
  });

  test("of another run, forged, or without the operator's token is none", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const run = await seedRun(manager, dataDir);
    const other = await seedRun(manager, dataDir);
    const link = await agentlet(manager, run);
    const foreign = await agentlet(manager, other);
    const shell = await granted(manager, run);

    const closed = await Promise.all(
      [
        attachTo(manager, { ...shell, run: other.run }),
        attachTo(manager, { ...shell, grant_id: "0".repeat(16) }),
        new Peer(manager, `/v1/runs/${run.run}/shells/${shell.grant_id}/attach`, "x".repeat(43)),
        new Peer(
          manager,
          `/v1/runs/${run.run}/shells/${shell.grant_id}/attach`,
          run.tokens.agentlet,
        ),
      ].map(async (peer) => (await peer.closed).code),
    );

    assert.deepEqual(closed, [1006, 1006, 1006, 1006]);
    const commands = [...(await commandsOf(link, 1)), ...(await commandsOf(foreign, 1))];
    assert.deepEqual(
      commands.filter(({ kind }) => kind !== "event_ack"),
      [],
    );
  });
});
