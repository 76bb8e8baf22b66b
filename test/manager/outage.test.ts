// A manager that is away for three seconds in the middle of a session, as those see it who watch.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";
import timers from "node:timers/promises";
import { WebSocket } from "ws";
import { createSigningKey } from "../../src/kit/signing.ts";
import type { Manager } from "../../src/manager/manager.ts";
import { openBrowser, openPage, playerShows, shoot, withoutBrowser } from "../helpers/browser.ts";
import { ShippedSession } from "../helpers/shipped-session.ts";
import { seedRun, startManager, type SeedRun } from "./seed.ts";

const TICK_MS = 5;
const BEFORE_MS = 1500;
const OUTAGE_MS = 3000;
const AFTER_MS = 1500;

interface Place {
  manager: Manager;
  dataDir: string;
}

/** A program that says a number every 5 ms, until `over`, recorded and shipped. Gives how many. */
async function tick(
  { manager, dataDir }: Place,
  { run, tokens }: SeedRun,
  over: AbortSignal,
): Promise<number> {
  await using session = await ShippedSession.open({
    url: manager.url,
    run,
    token: tokens.recorder,
    key: createSigningKey(),
    path: join(dataDir, "spool", run, "recording.cast"),
  });
  session.ship();
  for (; !over.aborted; await timers.setTimeout(TICK_MS))
    session.write(Buffer.from(`tick ${session.pieces};\r\n`));
  await session.end();
  return session.pieces;
}

/** A client of the live stream that connects again as the player does; `seen` grows. */
class Viewer {
  seen = "";
  connections = 0;
  readonly #over = new AbortController();
  readonly #running: Promise<void>;

  constructor(manager: Manager, run: string) {
    this.#running = this.#run(`${manager.url.replace("http", "ws")}/v1/runs/${run}/live`, {
      authorization: `Bearer ${manager.token}`,
    });
  }

  async end(): Promise<void> {
    this.#over.abort();
    await this.#running;
  }

  async #run(url: string, headers: Record<string, string>): Promise<void> {
    while (!this.#over.signal.aborted) {
      const socket = new WebSocket(url, ["v1.alis"], { headers });
      const stop = (): void => socket.terminate();
      this.#over.signal.addEventListener("abort", stop);
      socket.on("open", () => (this.connections += 1));
      socket.on("message", (data: Buffer) => (this.seen += data.toString("utf8")));
      socket.on("error", () => undefined);
      await new Promise((resolve) => socket.once("close", resolve));
      this.#over.signal.removeEventListener("abort", stop);
      await timers.setTimeout(100);
    }
  }
}

function missingOf(seen: string, count: number): number[] {
  const ticks = new Set(Array.from(seen.matchAll(/tick (\d+);/g), ([, number]) => Number(number)));
  return Array.from({ length: count }, (_, number) => number).filter((n) => !ticks.has(n));
}

/** Ends the manager and, three seconds later, starts the next one on the same port. */
async function outage(t: TestContext, { manager, dataDir }: Place, meanwhile: () => Promise<void>) {
  await manager[Symbol.asyncDispose]();
  await Promise.all([timers.setTimeout(OUTAGE_MS), meanwhile()]);
  return await startManager(t, {
    dataDir,
    port: Number(new URL(manager.url).port),
  });
}

suite("an outage of the manager of three seconds", () => {
  test("costs a client of the live stream not one of the ticks", async (t) => {
    const place = await startManager(t);
    const { manager, dataDir } = place;
    const seed = await seedRun(manager, dataDir);
    const over = new AbortController();
    const ticking = tick(place, seed, over.signal);
    await timers.setTimeout(BEFORE_MS);
    const viewer = new Viewer(manager, seed.run);
    await timers.setTimeout(BEFORE_MS);

    await outage(t, place, async () => {});
    await timers.setTimeout(AFTER_MS);
    over.abort();
    const count = await ticking;
    for (let looks = 0; looks < 50 && missingOf(viewer.seen, count).length > 0; looks += 1)
      await timers.setTimeout(100);
    await viewer.end();

    assert.equal(viewer.connections, 2);
    assert.ok(count > 500, `${count} ticks`);
    assert.deepEqual(missingOf(viewer.seen, count), []);
  });

  test(
    "is said on the page, which goes on in the real player with what it missed",
    {
      skip: withoutBrowser,
    },
    async (t) => {
      const place = await startManager(t);
      const { manager, dataDir } = place;
      const seed = await seedRun(manager, dataDir, { agent: "ticking" });
      const over = new AbortController();
      const ticking = tick(place, seed, over.signal);
      await using opened = await openBrowser();
      const { page } = await openPage(opened.browser, manager);
      await page.getByRole("link", { name: /ticking/ }).click();
      await playerShows(page, "tick 1");

      await outage(t, place, async () => {
        await page.getByText("No manager answers").waitFor();
        await shoot(page, "outage");
      });
      await page.getByText("No manager answers").waitFor({ state: "hidden" });
      await timers.setTimeout(AFTER_MS);
      over.abort();
      const count = await ticking;
      await playerShows(page, `tick ${count - 1};`);
      await shoot(page, "after-outage");

      const rows = await page.locator(".ap-term").innerText();
      const shown = Array.from(rows.matchAll(/tick (\d+);/g), ([, number]) => Number(number));
      assert.ok(shown.length > 15, `${shown.length} rows`);
      assert.deepEqual(
        shown,
        shown.map((_, index) => count - shown.length + index),
      );
    },
  );
});
