// The real asciinema-player in a real browser, on what the manager serves: a long session in segments, and the end of a live one.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { openBrowser, openPage, playerShows, shoot, withoutBrowser } from "../helpers/browser.ts";
import { aLongRecording } from "./long-recording.ts";
import { api, CAST, recorder, seedRun, ship, startManager, SUCCEEDED } from "./seed.ts";
import type { SeedRun } from "./seed.ts";
import type { Manager } from "../../src/manager/manager.ts";

async function finish(manager: Manager, { run }: SeedRun): Promise<void> {
  const body = JSON.stringify({ end: SUCCEEDED, recording: null });
  await api(manager, `/v1/runs/${run}/end`, { method: "POST", body });
}

suite("the real player", { skip: withoutBrowser }, () => {
  test("seeks in a long session by its segments alone, and shows the screen of that moment", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const seed = await seedRun(manager, dataDir, { agent: "long-bot" });
    const { peer } = await recorder(manager, seed);
    const cast = aLongRecording(6 * 1024 * 1024);
    for (let at = 0; at < cast.bytes.length; at += 200_000)
      await ship(peer, at, cast.bytes.subarray(at, at + 200_000));
    await finish(manager, seed);
    await using opened = await openBrowser();
    const { page, faults } = await openPage(opened.browser, manager);
    const fetched: string[] = [];
    page.on("request", (request) => fetched.push(new URL(request.url()).pathname));

    await page.getByRole("link", { name: /long-bot/ }).click();
    const markers = cast.events.filter(([, code]) => code === "m");
    const [, , label = ""] = markers[Math.floor(markers.length * 0.7)] ?? [];
    await page.getByRole("button", { name: label }).click();
    // It goes on playing from there, so what is on the screen is of that moment or a little later.
    const step = Number(/\d+/.exec(label)?.[0] ?? Number.NaN);
    await page.waitForFunction(
      `Number(/módulo_(\\d+)/.exec(document.querySelector(".ap-term").textContent)?.[1]) >= ${12 * (step - 4)}`,
    );
    await shoot(page, "segmented");

    const segments = fetched.filter((path) => /\/replay\/\d+\.json$/.test(path));
    const index = (await (await api(manager, `/v1/runs/${seed.run}/replay.json`)).json()) as {
      segments: unknown[];
    };
    assert.ok(index.segments.length > 15, `${index.segments.length} segments`);
    assert.ok(segments.length < index.segments.length / 2, `${segments.length} were fetched`);
    assert.ok(!fetched.some((path) => path.endsWith(".cast")));
    assert.deepEqual(faults, []);
  });

  test("shows the end of a live session as an end, and does not connect again", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const seed = await seedRun(manager, dataDir, { agent: "ending-bot" });
    const { peer } = await recorder(manager, seed);
    await ship(peer, 0, Buffer.from(CAST));
    await using opened = await openBrowser();
    const { page, faults } = await openPage(opened.browser, manager);
    const sockets: string[] = [];
    page.on("websocket", (socket) => sockets.push(new URL(socket.url()).pathname));
    await page.getByRole("link", { name: /ending-bot/ }).click();
    await playerShows(page, "second line ─ box");

    await finish(manager, seed);
    await page.locator(".ap-overlay-info", { hasText: "Session ended" }).waitFor();
    await page.getByRole("button", { name: "Replay from the start" }).waitFor();
    await shoot(page, "session-ended");
    await page.waitForTimeout(1500);

    assert.equal(sockets.filter((path) => path.endsWith("/live")).length, 1);
    await playerShows(page, "second line ─ box");
    assert.deepEqual(faults, []);
  });
});
