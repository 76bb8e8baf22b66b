import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import timers from "node:timers/promises";
import { chromium } from "playwright-core";
import { OutputRing } from "../src/agentlet/output-ring.ts";
import { TerminalState } from "../src/agentlet/terminal-state.ts";
import { silentLog } from "../src/kit/log.ts";
import { native } from "../src/kit/native.ts";
import { openManager, type Manager } from "../src/manager/manager.ts";
import { aLongRecording } from "../test/manager/long-recording.ts";
import { api, recorder, seedRun, ship, SUCCEEDED } from "../test/manager/seed.ts";
import { quantile } from "./measure.ts";
import { missingRow, valueRow } from "./row.ts";
import type { Row } from "./row.ts";

const CHROMIUM = "/usr/bin/chromium";
const MEGABYTES = 250;
const SEEKS = 20;

/** What a viewer waits for: the screen at an attach, the history above it, a moment of a very long session in the real player. */
export async function viewerRows(): Promise<Row[]> {
  return [...(await attachRows()), await seekRow()];
}

async function attachRows(): Promise<Row[]> {
  const ring = new OutputRing();
  using state = new TerminalState({
    ring,
    size: { cols: 120, rows: 40 },
    onReply: () => {},
    onAdvance: () => {},
  });
  for (let row = 0; row < 6000; row += 1) {
    const text = `\u001B[3${row % 8}mrow ${row}\u001B[0m of a build that says much ${"=".repeat(row % 60)}>\r\n`;
    ring.write(Buffer.from(text));
    state.wake();
    if (row % 500 === 0) while (state.parsedOffset !== ring.end) await timers.setTimeout(1);
  }
  while (state.parsedOffset !== ring.end) await timers.setTimeout(1);
  const screen: number[] = [];
  const history: number[] = [];
  for (let round = 0; round < 11; round += 1) {
    let started = performance.now();
    state.snapshot();
    screen.push(performance.now() - started);
    started = performance.now();
    await state.snapshotWithHistory(5000);
    history.push(performance.now() - started);
  }
  const against = "nothing";
  return [
    valueRow("attach: the screen", quantile(screen, 0.5), "ms", against, { atMost: 50 }),
    valueRow("attach: 5,000 rows of history, in slices", quantile(history, 0.5), "ms", against, {
      atMost: 250,
    }),
  ];
}

async function seekRow(): Promise<Row> {
  const row = `seek in a session of ${MEGABYTES} MB, asciinema-player in Chromium, p95`;
  if (!existsSync(CHROMIUM)) return missingRow(row, `${CHROMIUM} is not installed`);
  const dataDir = await mkdtemp(join(tmpdir(), "agentkube-bench-viewers-"));
  try {
    await using manager = await openManager({
      dataDir,
      port: 0,
      ephemeral: false,
      capBytes: 4 * 1024 ** 3,
      version: "0.0.0",
      lockFile: (fd) => native().lockFile(fd),
      log: silentLog,
    });
    const { run, indexMs } = await longSession(manager, dataDir);
    const seekMs = await seekTimes(manager, run);
    return valueRow(
      row,
      quantile(seekMs, 0.95),
      "ms",
      `p50 ${quantile(seekMs, 0.5).toFixed(0)} ms; its index was made once, in ${(indexMs / 1000).toFixed(1)} s`,
      { atMost: 300 },
    );
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function longSession(manager: Manager, dataDir: string) {
  const { run, tokens } = await seedRun(manager, dataDir);
  const { peer } = await recorder(manager, { run, tokens });
  const piece = aLongRecording(1024 * 1024);
  const header = piece.bytes.subarray(0, piece.bytes.length - piece.lines.length);
  await ship(peer, 0, header);
  let at = header.length;
  while (at < MEGABYTES * 1_000_000) {
    for (let from = 0; from < piece.lines.length; from += 250_000)
      await ship(peer, at + from, piece.lines.subarray(from, from + 250_000));
    at += piece.lines.length;
  }
  const body = JSON.stringify({ end: SUCCEEDED, recording: null });
  await api(manager, `/v1/runs/${run}/end`, { method: "POST", body });
  const started = performance.now();
  for (;;) {
    const plan = (await (await api(manager, `/v1/runs/${run}/replay`)).json()) as { kind: string };
    if (plan.kind !== "preparing") break;
    await timers.setTimeout(100);
  }
  return { run, indexMs: performance.now() - started };
}

async function seekTimes(manager: Manager, run: string): Promise<number[]> {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  });
  try {
    const page = await browser.newPage();
    await page.goto(`${manager.url}/#token=${manager.token}`);
    await page.getByRole("heading", { name: "Runs", exact: true }).waitFor();
    // The player by itself, as the page makes it; a seek counts until what it shows was drawn.
    return await page.evaluate<number[]>(`(async () => {
      const place = document.createElement("div");
      document.body.append(place);
      const url = location.origin + "/v1/runs/${run}/replay.json";
      const player = AsciinemaPlayer.create({ url, format: "segmented" }, place, { preload: true });
      await player.play();
      await player.pause();
      const duration = await player.getDuration();
      const times = [];
      for (let i = 0; i < ${SEEKS}; i += 1) {
        const started = performance.now();
        await player.seek(duration * ((i * 0.618034) % 1));
        await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
        times.push(performance.now() - started);
      }
      player.dispose();
      return times;
    })()`);
  } finally {
    await browser.close();
  }
}
