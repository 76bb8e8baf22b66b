import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { suite, test } from "node:test";
import { chromium, type Browser, type Page } from "playwright-core";
import type { Manager } from "../../src/manager/manager.ts";
import {
  auditMessages,
  agentlet,
  api,
  CAST,
  CAST_EXIT,
  Peer,
  recorder,
  seedRun,
  sha256,
  ship,
  startManager,
  SUCCEEDED,
} from "./seed.ts";

const CHROMIUM = "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const skip = existsSync(CHROMIUM) ? false : `${CHROMIUM} is not installed`;
const time = "2026-11-20T10:00:00.000Z";

async function openPage(
  browser: Browser,
  manager: Manager,
): Promise<{ page: Page; faults: string[] }> {
  const page = await browser.newPage();
  const faults: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") faults.push(message.text());
  });
  page.on("pageerror", (error) => faults.push(error.message));
  await page.goto(`${manager.url}/#token=${manager.token}`);
  await page.getByRole("heading", { name: "Runs", exact: true }).waitFor();
  return { page, faults };
}

async function terminalShows(page: Page, text: string): Promise<void> {
  await page.locator(".ap-term", { hasText: text }).waitFor({ timeout: 15_000 });
}

suite("page", { skip }, () => {
  test("shows a finished run and a live one in the real player, and keeps the token out of sight", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const done = await seedRun(manager, dataDir, { agent: "finished-bot" });
    const bytes = Buffer.from(CAST + CAST_EXIT);
    const first = await recorder(manager, done);
    await ship(first.peer, 0, bytes);
    await first.peer.send({ kind: "end", bytes: bytes.length, sha256: sha256(bytes) });
    await first.peer.until(({ kind }) => kind === "verified");
    await api(manager, `/v1/runs/${done.run}/end`, {
      method: "POST",
      body: JSON.stringify({ end: SUCCEEDED, recording: null }),
    });
    const live = await seedRun(manager, dataDir, { agent: "live-bot" });
    const link = await agentlet(manager, live);
    await link.send({
      kind: "event",
      seq: 1,
      event: { type: "notice", time, message: "<b>a notice</b>" },
    });
    const audit = new Peer(manager, `/v1/runs/${live.run}/audit`, live.tokens.runner);
    await audit.send({ kind: "hello", protocol: 1, epoch: 1 });
    const call = "1".repeat(32);
    for (const message of auditMessages(live.run, [
      {
        type: "request",
        time,
        run: live.run,
        call,
        source: "tool",
        credential: "github",
        method: "GET",
        host: "api.github.com:443",
        path: "/repos/acme/site/issues",
        status: 200,
        bytesUp: 1,
        bytesDown: 2,
        durationMs: 3,
        masked: 0,
        verdict: "allowed",
      },
      {
        type: "call",
        time,
        run: live.run,
        call,
        tool: "github-issues",
        operation: "list",
        outcome: "completed",
        exitCode: 0,
        tier: "standard",
        durationMs: 12,
        requests: 1,
        masked: 0,
      },
    ]))
      await audit.send(message);
    const second = await recorder(manager, live);
    await ship(second.peer, 0, Buffer.from(CAST));
    const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
    t.after(async () => await browser.close());
    const { page, faults } = await openPage(browser, manager);

    assert.ok(!page.url().includes("token"));
    await page.getByRole("link", { name: /finished-bot/ }).click();
    await terminalShows(page, "second line ─ box");
    await page.getByText("verified", { exact: true }).waitFor();
    await page.getByRole("button", { name: "tool: list" }).click();
    await terminalShows(page, "hello from the agent");
    await page.goBack();
    await page.getByRole("link", { name: /live-bot/ }).press("Enter");
    await terminalShows(page, "hello from the agent");
    await page.getByText("<b>a notice</b>").waitFor();
    await page.getByText("github-issues list").click();
    await page.getByText("GET api.github.com:443/repos/acme/site/issues").waitFor();
    await ship(
      second.peer,
      Buffer.byteLength(CAST),
      Buffer.from('[0.250, "o", "came later\\r\\n"]\n'),
    );
    await terminalShows(page, "came later");
    if (process.env["AGENTKUBE_TEST_SCREENSHOTS"] !== undefined)
      await screenshots(page, manager, process.env["AGENTKUBE_TEST_SCREENSHOTS"]);
    await api(manager, `/v1/runs/${live.run}/end`, {
      method: "POST",
      body: JSON.stringify({ end: SUCCEEDED, recording: null }),
    });
    await page.getByRole("button", { name: "Replay from the start" }).click();
    await terminalShows(page, "came later");

    assert.deepEqual(faults, []);
    assert.deepEqual(await page.evaluate("document.cookie"), "");
  });
});

async function screenshots(page: Page, manager: Manager, dir: string): Promise<void> {
  await page.screenshot({ path: `${dir}/run.png`, fullPage: true });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: `${dir}/run-dark.png`, fullPage: true });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.screenshot({ path: `${dir}/run-phone.png`, fullPage: true });
  const url = page.url();
  await page.goto(`${manager.url}/#/`);
  await page.getByRole("heading", { name: "Runs", exact: true }).waitFor();
  await page.screenshot({ path: `${dir}/list-phone.png` });
  await page.setViewportSize({ width: 1280, height: 720 });
  await page.emulateMedia({ colorScheme: "light" });
  await page.screenshot({ path: `${dir}/list.png` });
  await page.goto(url);
  await terminalShows(page, "came later");
}
