import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Page } from "playwright-core";
import type { Manager } from "../../src/manager/manager.ts";
import { openBrowser, openPage, playerShows, shoot, withoutBrowser } from "../helpers/browser.ts";
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

const time = "2026-11-20T10:00:00.000Z";

suite("page", { skip: withoutBrowser }, () => {
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
    await using opened = await openBrowser();
    const { page, faults } = await openPage(opened.browser, manager);

    assert.ok(!page.url().includes("token"));
    await page.getByRole("link", { name: /finished-bot/ }).click();
    await playerShows(page, "second line ─ box");
    await page.getByText("verified", { exact: true }).waitFor();
    await page.getByRole("button", { name: "tool: list" }).click();
    await playerShows(page, "hello from the agent");
    await page.goBack();
    await page.getByRole("link", { name: /live-bot/ }).press("Enter");
    await playerShows(page, "hello from the agent");
    await page.getByText("<b>a notice</b>").waitFor();
    await page.getByText("github-issues list").click();
    await page.getByText("GET api.github.com:443/repos/acme/site/issues").waitFor();
    await ship(
      second.peer,
      Buffer.byteLength(CAST),
      Buffer.from('[0.250, "o", "came later\\r\\n"]\n'),
    );
    await playerShows(page, "came later");
    if (process.env["AGENTKUBE_TEST_SCREENSHOTS"] !== undefined)
      await screenshots(page, manager, process.env["AGENTKUBE_TEST_SCREENSHOTS"]);
    await api(manager, `/v1/runs/${live.run}/end`, {
      method: "POST",
      body: JSON.stringify({ end: SUCCEEDED, recording: null }),
    });
    await page.getByRole("button", { name: "Replay from the start" }).click();
    await playerShows(page, "came later");

    assert.deepEqual(faults, []);
    assert.deepEqual(await page.evaluate("document.cookie"), "");
  });

  test("shows what the agent asks, and takes the answer to it", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const seed = await seedRun(manager, dataDir, { agent: "asking-bot" });
    const link = await agentlet(manager, seed);
    const ask = {
      id: 1,
      kind: "permission",
      tool: "Bash",
      text: "Run it?",
      detail: "rm -rf build",
    };
    const state = { type: "state", time, channel: "hook", evidence: "asked", outputOffset: 0 };
    const told = async (seq: number, said: Partial<typeof ask>) =>
      await link.send({
        kind: "event",
        seq,
        event: { ...state, state: "permission", ask: { ...ask, ...said, options: [] } },
      });
    await told(1, { tool: "Bash", text: "", detail: "" });
    await using opened = await openBrowser();
    const { page, faults } = await openPage(opened.browser, manager);

    await page.getByRole("link", { name: /asking-bot/ }).click();
    const asked = page.getByRole("region", { name: "The agent asks" });
    await asked.getByText("Bash").waitFor();
    await told(2, {});
    await asked.getByText("rm -rf build").waitFor();
    await shoot(page, "ask");
    await asked.getByRole("button", { name: "Allow once" }).press("Enter");
    const command = await link.until(({ kind }) => kind === "answer");
    const act = { type: "act", time, act: "answer", request: command["request"], by: "the page" };
    await link.send({
      kind: "event",
      seq: 3,
      event: { ...act, ask: 1, phase: "done", message: "pressed 1", outputOffset: 0 },
    });
    await asked.getByText("done: pressed 1").waitFor();
    await link.send({ kind: "event", seq: 4, event: { ...state, state: "busy" } });
    await asked.waitFor({ state: "hidden" });

    assert.deepEqual(command["choice"], { kind: "allow" });
    assert.equal(command["ask"], 1);
    assert.deepEqual(faults, []);
  });

  test("goes by the keyboard: the ways to see a session are one stop, its moments another", async (t) => {
    const { manager, dataDir } = await startManager(t);
    const seed = await seedRun(manager, dataDir, { agent: "keyed-bot" });
    const { peer } = await recorder(manager, seed);
    await ship(peer, 0, Buffer.from(CAST + '[0.200, "m", "state idle"]\n'));
    await using opened = await openBrowser();
    const { page } = await openPage(opened.browser, manager);
    await page.getByRole("link", { name: /keyed-bot/ }).press("Enter");
    await playerShows(page, "second line");

    await page.getByRole("tab", { name: "Live" }).focus();
    await page.keyboard.press("ArrowRight");
    const tab = await focused(page);
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "tool: list" }).focus();
    await page.keyboard.press("ArrowDown");
    const moment = await focused(page);
    await page.keyboard.press("Enter");
    await page.locator('.moments [aria-current="true"]', { hasText: "state idle" }).waitFor();
    const stops = await page.locator('.moments button[tabindex="0"]').count();

    assert.match(tab, /Replay/);
    assert.match(moment, /state idle/);
    assert.equal(stops, 1);
    assert.equal(await page.getByRole("tab", { selected: true }).textContent(), "Replay");
  });

  test("says what to do to a person without the token, and to one without runs", async (t) => {
    const { manager } = await startManager(t);
    await using opened = await openBrowser();
    const page = await opened.browser.newPage();

    await page.goto(`${manager.url}/`);
    await page.getByText("the link with the token: agentkube page prints it").waitFor();
    await page.goto(`${manager.url}/#token=${"0".repeat(64)}`);
    await page.getByText("the link with the token: agentkube page prints it").waitFor();
    assert.ok(!page.url().includes("token"));
    await page.goto(`${manager.url}/#token=${manager.token}`);
    await page.getByText("agentkube run agent.yaml").waitFor();
    await shoot(page, "empty");
  });
});

async function focused(page: Page): Promise<string> {
  return await page.evaluate("document.activeElement?.textContent ?? ''");
}

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
  await playerShows(page, "came later");
}
