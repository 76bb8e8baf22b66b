// A real browser for the tests that look at the page as a person does.
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";

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

/** False, or why no test with a browser can run here. */
export const withoutBrowser = existsSync(CHROMIUM) ? false : `${CHROMIUM} is not installed`;

/** Debian's Chromium without a window. */
export async function openBrowser(): Promise<AsyncDisposable & { browser: Browser }> {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  return { browser, [Symbol.asyncDispose]: async () => await browser.close() };
}

/** A page that is logged in and shows the list of runs, and what its console complained of. */
export async function openPage(
  browser: Browser,
  manager: { url: string; token: string },
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

/** Waits until the terminal of asciinema-player shows a text. */
export async function playerShows(page: Page, text: string): Promise<void> {
  await page.locator(".ap-term", { hasText: text }).waitFor({ timeout: 15_000 });
}

/** Keeps a picture of the page for a person to look at, where `AGENTKUBE_TEST_SCREENSHOTS` names a directory. */
export async function shoot(page: Page, name: string): Promise<void> {
  const directory = process.env["AGENTKUBE_TEST_SCREENSHOTS"];
  if (directory !== undefined)
    await page.screenshot({ path: `${directory}/${name}.png`, fullPage: true });
}
