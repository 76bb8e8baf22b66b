import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { suite, test } from "node:test";
import type { Page } from "playwright-core";
import { openBrowser, openPage, shoot, withoutBrowser } from "../helpers/browser.ts";
import { openLab } from "../helpers/lab.ts";
import { anAgent } from "../helpers/manifests.ts";

/** xterm.js draws rows as elements; what a person reads there. */
async function windowShows(page: Page, text: string): Promise<void> {
  await page.locator(".xterm-rows", { hasText: text }).waitFor({ timeout: 15_000 });
}

suite("the page of a real run", { skip: withoutBrowser }, () => {
  test("shows its terminal in xterm.js, lets a person type when they ask for it, and opens a shell beside it", async () => {
    await using lab = openLab();
    const program = `printf '\\033[32mready\\033[0m \\344\\270\\255 ─┐\\n'; read -r line; echo "got:$line"; sleep 1; read -r more; exit 0`;
    const agent = lab.write("agent.yaml", anAgent(program));
    const started = lab.agentkube(["run", "--detach", `--data=${lab.data}`, agent], {
      cwd: lab.workspace,
    });
    await started.ended;
    const { run } = await lab.waitForRun(({ phase }) => phase === "running");
    const { port, token } = lab.manager();
    await using opened = await openBrowser();
    const url = `http://127.0.0.1:${port}`;
    const { page, faults } = await openPage(opened.browser, { url, token });
    await page.goto(`${url}/#/runs/${run}`);
    await page.locator(".ap-term", { hasText: "ready" }).waitFor();

    await page.getByRole("tab", { name: "Terminal" }).click();
    await windowShows(page, "ready 中 ─┐");
    await page.getByText("Read-only").waitFor();
    await page.locator(".xterm").click();
    await page.keyboard.type("never\n");
    await shoot(page, "terminal-read-only");
    const typing = page.getByRole("button", { name: "Type into it" });
    if ((await typing.count()) > 0) {
      await typing.click();
      await windowShows(page, "ready 中 ─┐");
      await page.keyboard.type("hello from the page\n");
      await windowShows(page, "got:hello from the page");
      await shoot(page, "terminal-typing");
    }
    await page.getByRole("tab", { name: "Shell" }).click();
    await windowShows(page, "$");
    await page.keyboard.type("echo $((40 + 2)); cat /proc/1/comm\n");
    await windowShows(page, "42");
    await windowShows(page, "zone-init");
    await shoot(page, "shell");
    const colour = await page.evaluate(
      "getComputedStyle(document.querySelector('.xterm-rows')).fontFamily",
    );
    await page.getByRole("tab", { name: "Replay" }).click();
    await page.locator(".moments button").last().click();
    await page.locator(".ap-player").waitFor();
    await shoot(page, "replay");
    await page.getByRole("region", { name: "Shells" }).getByText("interactive").waitFor();
    await lab.agentkube(["stop", run, `--data=${lab.data}`]).ended;
    await page.getByText("cancelled").first().waitFor();
    await shoot(page, "ended");

    const recording = readFileSync(path.join(lab.data, "runs", run, "recording.cast"), "utf8");
    assert.match(recording, /the keyboard is in the hands of a person/);
    assert.match(String(colour), /mono/i);
    assert.deepEqual(faults, []);
  });
});
